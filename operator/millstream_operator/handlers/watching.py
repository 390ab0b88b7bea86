"""kopf as informer: every event of our kinds goes to the main loop, and nothing else.

kopf runs in a thread with a loop of its own. Only `on.event` is used: it never writes, while a
timer or a change handler of kopf is lost when one of its own writes fails (seen with kopf 1.45.2:
after 80 s without the right to patch a status, an object's timer never fired again). The settings
below keep watches from going deaf and give up on none of them; should a watch die all the same,
kopf ends, and this process with it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any, Final

import kopf

from millstream_api import names
from millstream_operator.shell.kinds import CHILD_SELECTOR, PARENTS, WATCHED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from millstream_operator.shell.access import Access
    from millstream_operator.shell.kinds import Body, KindInfo

log = logging.getLogger(__name__)

LONGEST_PAUSE_SECONDS: Final = 15.0


class EndlessBackoff:
    """Pauses between tries of a request: 1, 2, 4 … 15, 15 … seconds, jittered, without end."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        """Draw jitter from here: a number in [0, 1)."""
        self._jitter = jitter

    def __iter__(self) -> Iterator[float]:
        pause = 1.0
        while True:
            yield pause * (0.5 + 0.5 * self._jitter())
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def settings_for(jitter: Callable[[], float]) -> kopf.OperatorSettings:
    """The settings that make kopf a patient informer."""
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True  # needs no right to list definitions or namespaces
    settings.peering.standalone = True  # leadership is by Lease
    settings.posting.enabled = False
    settings.watching.server_timeout = 290
    settings.watching.client_timeout = 320
    settings.watching.connect_timeout = 10
    settings.watching.reconnect_backoff = 1.0
    settings.watching.chunk_size = 500
    for kind in WATCHED:
        if kind not in PARENTS:
            place = (kind.group, kind.version, kind.plural)
            settings.watching.label_selectors[place] = CHILD_SELECTOR
    settings.networking.request_timeout = 15
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = EndlessBackoff(jitter)
    settings.networking.enforce_retry_after = True
    settings.execution.max_workers = 4
    settings.process.ultimate_exiting_timeout = 15
    settings.persistence.finalizer = f"{names.GROUP}/unused"
    return settings


def registry_for(
    kinds: Sequence[KindInfo], deliver: Callable[[str, Body], None], load: Callable[[], Access]
) -> kopf.OperatorRegistry:
    """A registry with one `on.event` for each kind, and the login.

    Args:
        kinds: to watch.
        deliver: gets ADDED, MODIFIED or DELETED and the object; called in kopf's thread.
        load: reads how to reach the API server.
    """
    registry = kopf.OperatorRegistry()

    def login(**_kwargs: Any) -> kopf.ConnectionInfo:
        access = load()
        scheme, _, token = (access.authorization or "").partition(" ")
        return kopf.ConnectionInfo(
            server=access.server,
            ca_path=access.ca_file,
            insecure=not access.verifies,
            scheme=scheme or None,
            token=token or None,
            certificate_path=access.certificate_file,
            private_key_path=access.key_file,
        )

    def changed(event: kopf.RawEvent, **_: Any) -> None:
        # kopf gives no type to what it lists at first.
        deliver(event["type"] or "ADDED", dict(event["object"]))

    kopf.on.login(registry=registry)(login)
    for kind in kinds:
        watch = kopf.on.event(
            kind.group, kind.version, kind.plural, id=f"watch-{kind.plural}", registry=registry
        )
        watch(changed)
    return registry


class Watching:
    """kopf in its thread."""

    def __init__(
        self,
        registry: kopf.OperatorRegistry,
        settings: kopf.OperatorSettings,
        namespaces: Sequence[str | None],
        ended: Callable[[str], None],
    ) -> None:
        """Nothing runs yet.

        Args:
            registry: what to watch.
            settings: how.
            namespaces: where; (None,) for everywhere.
            ended: called in kopf's thread when it is over, with the reason.
        """
        self._registry = registry
        self._settings = settings
        self._namespaces = [each for each in namespaces if each is not None]
        self._ended = ended
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """End, and wait so long for that."""
        self._stop.set()
        self._thread.join(seconds)

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        reason = "asked to"
        try:
            asyncio.run(
                kopf.operator(
                    registry=self._registry,
                    settings=self._settings,
                    standalone=True,
                    # Peering, which is off, would name us by our user: in a pod there is none.
                    identity="millstream",
                    clusterwide=not self._namespaces,
                    namespaces=self._namespaces,
                    stop_flag=self._stop,
                )
            )
        except Exception as error:
            log.exception("watching ended")
            reason = repr(error)
        except asyncio.CancelledError:
            reason = "cancelled"
        self._ended(reason)
