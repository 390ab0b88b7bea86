"""The control-plane shape: a real API server with its controllers, without nodes and without root.

Pods are accepted, scheduled nowhere and never run; everything else (CRDs with CEL, RBAC, server-
side apply, watches, garbage collection, StatefulSets creating pods) is the real thing. Several
can run at once, each in a folder of its own.
"""

import datetime as dt
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from devcluster import components, lifecycle, pki, processes
from devcluster.binaries import Binaries
from devcluster.commands import DevclusterError
from devcluster.components import Settings
from devcluster.lifecycle import Action, Health, Made
from devcluster.paths import State, cache_root
from devcluster.progress import Progress


@dataclass(frozen=True)
class Cluster:
    """A running cluster."""

    kubeconfig: Path
    server: str
    """URL of the API server."""
    state: State


@contextmanager
def control_plane(
    directory: Path, *, audit: bool = False, progress: Progress | None = None
) -> Iterator[Cluster]:
    """A fresh control plane for the length of a `with` block, for tests.

    Args:
        directory: Receives data and logs; an earlier cluster in it is removed first, this one's
            data stays for a look afterwards.
        audit: Whether `directory/logs/audit.log` lists every request.
        progress: Where to say what is being waited for; standard error by default.

    Raises:
        DevclusterError: It could not be brought up; the message says why.
    """
    state = State(directory.absolute())
    shown = progress or Progress()
    lifecycle.end_all(state)
    lifecycle.remove_state(state)
    try:
        yield bring_up(state, shown, audit=audit, die_with_parent=True)
    finally:
        lifecycle.end_all(state)


def bring_up(
    state: State, progress: Progress, *, audit: bool = False, die_with_parent: bool = False
) -> Cluster:
    """Makes, repairs or confirms the control plane in a folder, whichever it needs."""
    programs = Binaries(cache_root(), progress).kubernetes()
    made = Made.read(state)
    settings = settings_of(state, made) if made else None
    expected = components.control_plane(settings) if settings else ()
    plan = lifecycle.decide_up(
        [component.name for component in expected],
        lifecycle.find_working(expected, state),
        str(made.programs) if made and made.complete else None,
        str(programs),
    )
    if plan.action is Action.FRESH or settings is None:
        lifecycle.end_all(state)
        lifecycle.remove_state(state)
        made = Made(programs, components.LOOPBACK, draw_ports(), audit, complete=False)
        settings = prepare(state, made)
        with progress.step("starting the control plane", 8):
            start_control_plane(settings, die_with_parent=die_with_parent)
        replace(made, complete=True).write(state)
    elif plan.action is Action.REPAIR:
        with progress.step(f"repairing the cluster ({plan.reason})", 8):
            start_control_plane(settings, plan.restart, die_with_parent=die_with_parent)
    return Cluster(state.kubeconfig, settings.server, state)


def take_down(state: State, progress: Progress) -> None:
    """Ends the control plane in a folder and removes the folder; fine if there is none."""
    if state.root.exists() or processes.find(state.root):
        with progress.step("ending the control plane", 2):
            lifecycle.end_all(state)
            lifecycle.remove_state(state)


def settings_of(state: State, made: Made) -> Settings:
    """The settings a cluster was made with."""
    return Settings(
        state=state,
        programs=made.programs,
        address=made.address,
        ports=made.ports,
        audit=made.audit,
    )


def prepare(state: State, made: Made) -> Settings:
    """Writes what the control plane reads at its start: record, certificates, kubeconfigs."""
    made.write(state)
    settings = settings_of(state, made)
    addresses = [components.LOOPBACK, components.NODE_ADDRESS, components.KUBERNETES_SERVICE]
    pki.write_pki(state.pki, addresses, dt.datetime.now(dt.UTC))
    for client in pki.CLIENTS:
        target = state.pki / f"{client.file}.kubeconfig"
        pki.write_kubeconfig(target, settings.server, state.pki, client)
    pki.write_kubeconfig(state.kubeconfig, settings.server, state.pki, pki.ADMIN)
    if made.audit:
        policy = components.render_audit_policy()
        (state.root / "audit-policy.json").write_text(json.dumps(policy))
    return settings


def start_control_plane(
    settings: Settings, names: tuple[str, ...] | None = None, *, die_with_parent: bool = False
) -> None:
    """Starts those of the control plane's components that are named (all by default) and waits."""
    wanted = [c for c in components.control_plane(settings) if names is None or c.name in names]
    order = ("etcd",), ("kube-apiserver",), ("kube-controller-manager", "kube-scheduler")
    for together in order:
        group = [component for component in wanted if component.name in together]
        lifecycle.restart_components(group, settings.state, die_with_parent=die_with_parent)
    account = f"{settings.server}/api/v1/namespaces/default/serviceaccounts/default"
    with Health(settings.state.pki) as health:
        # Until this account is there the API server refuses every pod.
        if not processes.wait_until(lambda: health.answers(account), 30):
            raise DevclusterError(
                "kube-controller-manager runs but made no service account within 30 s; "
                f"see {settings.state.log('kube-controller-manager')}"
            )


def draw_ports() -> dict[str, int]:
    """A port for each server of a cluster, free at this moment."""
    with ExitStack() as held:
        drawn = {}
        for name in components.PORT_NAMES:
            listener = held.enter_context(socket.socket())
            listener.bind((components.LOOPBACK, 0))
            drawn[name] = listener.getsockname()[1]
        return drawn
