"""Brings a set of components to "all running and answering", from whatever state it is in.

    nothing ──fresh──► etcd ► kube-apiserver ► the rest ──► complete
       ▲                                                       │ one is dead or mute
       └──clean── half up, all dead, or of other binaries      └──repair──► complete

What to do is decided by `decide_up` from what is seen; starting and waiting is below it.
"""

import json
import shutil
import socket
import ssl
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Self

import httpx

from devcluster import processes
from devcluster.commands import DevclusterError, tail
from devcluster.components import Component
from devcluster.paths import State

START_LIMIT = 90.0
HEALTH_LIMIT = 3.0


class Action(Enum):
    """What `up` has to do."""

    NOTHING = "nothing"
    REPAIR = "repair"
    FRESH = "fresh"


@dataclass(frozen=True)
class UpPlan:
    """A decision about `up`, with its reason; `restart` names components in starting order."""

    action: Action
    reason: str
    restart: tuple[str, ...] = ()


def decide_up(
    expected: Sequence[str], working: Collection[str], made_by: str | None, programs: str
) -> UpPlan:
    """What to do with a cluster.

    Args:
        expected: Components in starting order.
        working: Those that run and answer.
        made_by: The binaries the cluster was completed with; none if it never was.
        programs: The binaries that this checkout wants.
    """
    restart = tuple(name for name in expected if name not in working)
    if made_by is None:
        return UpPlan(Action.FRESH, "no complete cluster is there", tuple(expected))
    if made_by != programs:
        return UpPlan(Action.FRESH, "the cluster runs other binaries", tuple(expected))
    if len(restart) == len(expected):
        return UpPlan(Action.FRESH, "nothing of the cluster runs any more", tuple(expected))
    if restart:
        return UpPlan(Action.REPAIR, f"not answering: {', '.join(restart)}", restart)
    return UpPlan(Action.NOTHING, "everything runs and answers")


@dataclass(frozen=True)
class Made:
    """What a cluster in a folder was made with; read back by every later launcher."""

    programs: Path
    address: str
    ports: dict[str, int]
    audit: bool
    complete: bool

    def write(self, state: State) -> None:
        """Records it; `complete` only once everything answered."""
        state.root.mkdir(parents=True, exist_ok=True)
        fields = {**self.__dict__, "programs": str(self.programs)}
        aside = state.made.with_suffix(".new")
        aside.write_text(json.dumps(fields, indent=2))
        aside.rename(state.made)

    @staticmethod
    def read(state: State) -> "Made | None":
        """The record of a cluster, none if there is none."""
        if not state.made.exists():
            return None
        fields = json.loads(state.made.read_text())
        return Made(**{**fields, "programs": Path(fields["programs"])})


class Health:
    """Asks components whether they work, as the cluster's administrator."""

    def __init__(self, pki: Path) -> None:
        context = ssl.create_default_context(cafile=pki / "ca.crt")
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        self._client = httpx.Client(verify=context, timeout=HEALTH_LIMIT, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def answers(self, url: str) -> bool:
        """Whether a GET succeeds, or for a `unix://` socket a connection."""
        if url.startswith("unix://"):
            return _accepts(url.removeprefix("unix://"))
        try:
            return self._client.get(url).is_success
        except httpx.HTTPError:
            return False


def _accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(HEALTH_LIMIT)
        try:
            client.connect(path)
        except OSError:
            return False
    return True


def find_working(components: Sequence[Component], state: State) -> set[str]:
    """The components that run and answer."""
    if not (state.pki / "admin.key").exists():
        return set()
    running = processes.find_main(state.root)
    with Health(state.pki) as health:
        return {c.name for c in components if c.name in running and health.answers(c.health)}


def restart_components(
    components: Sequence[Component], state: State, *, die_with_parent: bool = False
) -> None:
    """Starts components together, after ending what still runs of them, and waits for answers.

    Raises:
        DevclusterError: One ends or stays mute; the message holds the end of its log.
    """
    running = processes.find_main(state.root)
    names = [component.name for component in components]
    processes.stop((running[name] for name in names if name in running), state.root)
    for component in components:
        processes.start(
            component.name,
            component.argv,
            root=state.root,
            log=state.log(component.name),
            die_with_parent=die_with_parent,
        )
    began = time.monotonic()
    with Health(state.pki) as health:
        for component in components:
            _await_answer(component, state, health, began + START_LIMIT)


def end_all(state: State) -> None:
    """Ends every process of the cluster; the API server's clients first, its store last."""
    found = processes.find(state.root)
    last = ("etcd", "kube-apiserver", "containerd")
    processes.stop((p for p in found if p.component not in last), state.root)
    processes.stop_all(state.root)


def remove_state(state: State) -> None:
    """Removes the cluster's folder; nothing of the cluster may be mounted or running."""
    if state.root.exists():
        shutil.rmtree(state.root)


def _await_answer(component: Component, state: State, health: Health, deadline: float) -> None:
    log = state.log(component.name)
    while not health.answers(component.health):
        if component.name not in processes.find_main(state.root):
            time.sleep(0.2)  # it may not have reached its own program yet
            if component.name not in processes.find_main(state.root):
                raise DevclusterError(f"{component.name} stopped; the end of {log}:\n{_end(log)}")
        if time.monotonic() > deadline:
            raise DevclusterError(
                f"{component.name} did not answer within {START_LIMIT:.0f} s; "
                f"the end of {log}:\n{_end(log)}"
            )
        time.sleep(0.05)


def _end(log: Path) -> str:
    return tail(log.read_text(errors="replace")) if log.exists() else "    (no log)"
