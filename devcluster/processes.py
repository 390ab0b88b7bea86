"""The cluster's processes: started, found again and ended without a record on disk.

A pid file lies as soon as a launcher is killed between starting a process and writing the file,
or the number is given to somebody else's process. So each process we start carries the
cluster's folder in its environment, which children inherit and nobody else has; the process
table is the record. A signal goes through a pidfd that was opened before the environment was
read, so it can never reach another process.
"""

import os
import select
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster.commands import DevclusterError

MARKER = "MILLSTREAM_DEVCLUSTER"
COMPONENT = "MILLSTREAM_DEVCLUSTER_COMPONENT"


@dataclass(frozen=True)
class Process:
    """A live process of a cluster.

    `component` is the component it is or descends from; `is_main` tells the two apart.
    """

    pid: int
    component: str
    is_main: bool
    memory: int
    """Resident bytes."""


def identify(environ: bytes, argv: bytes, root: Path) -> tuple[str, bool] | None:
    """The component and whether it is its main process, from the two files of /proc.

    None if the process does not belong to the cluster in `root`.
    """
    variables = dict(entry.split(b"=", 1) for entry in environ.split(b"\0") if b"=" in entry)
    if variables.get(MARKER.encode()) != os.fsencode(root):
        return None
    component = variables.get(COMPONENT.encode(), b"").decode()
    program = os.path.basename(argv.split(b"\0", 1)[0]).decode(errors="replace")  # noqa: PTH119 - bytes
    return component, program == component


def find(root: Path) -> list[Process]:
    """Every live process that belongs to the cluster in `root`, descendants included."""
    return [process for pid in _pids() if (process := _read(pid, root)) is not None]


def find_main(root: Path) -> dict[str, Process]:
    """The live components of the cluster in `root` by name."""
    return {process.component: process for process in find(root) if process.is_main}


def find_foreign(names: Iterable[str], root: Path) -> list[tuple[str, int]]:
    """Name and id of live processes with one of these names that are not the cluster's own."""
    wanted, own = set(names), {process.pid for process in find(root)}
    found = []
    for pid in _pids():
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            has_ended = not Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue  # it went meanwhile
        # A process that has ended keeps its name until its parent asks how, which some never do.
        if name in wanted and pid not in own and not has_ended:
            found.append((name, pid))
    return found


def start(
    component: str,
    argv: Sequence[str | Path],
    *,
    root: Path,
    log: Path,
    die_with_parent: bool = False,
) -> int:
    """Starts a component in a session of its own and returns its process id.

    Args:
        component: Its name, which is also the name of the program.
        argv: Absolute path of the program and its arguments.
        root: The cluster's folder, by which it is found again.
        log: Receives both outputs; the log of the previous start is kept beside it.
        die_with_parent: Whether it must not outlive the calling thread (clusters of tests).
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_suffix(".previous.log"))
    words = [str(word) for word in argv]
    if die_with_parent and (setpriv := shutil.which("setpriv")):
        words = [setpriv, "--pdeathsig", "TERM", *words]
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        words[0],
        words,
        {**os.environ, MARKER: str(root), COMPONENT: component},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def stop(processes: Iterable[Process], root: Path, *, grace: float = 1.0) -> None:
    """Ends processes of the cluster: politely, after `grace` seconds by force, and waits.

    Raises:
        DevclusterError: One does not go even by force (it hangs in the kernel).
    """
    handles: dict[int, int] = {}
    try:
        for process in processes:
            try:
                handle = os.pidfd_open(process.pid)
            except ProcessLookupError:
                continue
            handles[process.pid] = handle
        # Only now is the number bound to one process; ask again whether it is ours.
        owned = {pid: fd for pid, fd in handles.items() if _read(pid, root) is not None}
        for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 10.0)):
            for handle in owned.values():
                try:
                    signal.pidfd_send_signal(handle, number)
                except ProcessLookupError:
                    continue
            owned = _wait_for_end(owned, patience)
        if owned:
            raise DevclusterError(f"processes {sorted(owned)} do not end even when killed")
    finally:
        for pid, handle in handles.items():
            os.close(handle)
            _reap(pid)


def stop_all(root: Path, *, grace: float = 1.0) -> None:
    """Ends every process of the cluster, also those started while it does so.

    Raises:
        DevclusterError: New ones keep appearing, or one does not go.
    """
    for _ in range(10):
        found = find(root)
        if not found:
            return
        stop(found, root, grace=grace)
    raise DevclusterError(f"processes of the cluster in {root} keep starting others")


def wait_until(condition: Callable[[], bool], seconds: float, *, every: float = 0.1) -> bool:
    """Whether `condition` came true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _read(pid: int, root: Path) -> Process | None:
    folder = Path(f"/proc/{pid}")
    try:
        environ = (folder / "environ").read_bytes()
        argv = (folder / "cmdline").read_bytes()
        pages = int((folder / "statm").read_text().split()[1])
    except (OSError, IndexError):
        return None  # ended meanwhile, or another user's
    identity = identify(environ, argv, root)
    if identity is None:
        return None
    return Process(pid, *identity, memory=pages * os.sysconf("SC_PAGE_SIZE"))


def _wait_for_end(handles: dict[int, int], seconds: float) -> dict[int, int]:
    """Those of `handles` whose process is still there after `seconds`."""
    deadline = time.monotonic() + seconds
    left = dict(handles)
    while left and (remaining := deadline - time.monotonic()) > 0:
        poll = select.poll()
        for handle in left.values():
            poll.register(handle, select.POLLIN)
        ended = {handle for handle, _ in poll.poll(remaining * 1000)}
        left = {pid: handle for pid, handle in left.items() if handle not in ended}
    return left


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # started by an earlier launcher, so not our child
