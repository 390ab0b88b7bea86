"""What the local cluster could leave on a machine, as one value to compare before and after."""

import json
import subprocess
from pathlib import Path

from devcluster import host, leftovers, processes
from devcluster.components import CGROUP
from devcluster.paths import State


def traces(state: State, cache: Path) -> dict[str, list[str]]:
    """Everything of a cluster that is running, mounted or configured, by kind.

    Counters are left out, and so are interfaces and rules' order of other programs: two values
    are equal if the cluster has left nothing behind between them.
    """
    mountinfo = Path("/proc/self/mountinfo").read_text()
    return {
        "processes": [process.component for process in processes.find(state.root)],
        "cgroups": [str(r) for r in host.cgroup_roots() if (r / CGROUP.strip("/")).exists()],
        "mounts": leftovers.mounts_below(mountinfo, [str(state.root), str(cache / "images")]),
        "interfaces": sorted(path.name for path in Path("/sys/class/net").iterdir()),
        "routes": sorted(r["dst"] for r in json.loads(_printed("ip", "-json", "-4", "route"))),
        "rules": [*_rules("iptables-save"), *_rules("ip6tables-save")],
        "files": sorted(
            str(path)
            for folder in ("/var/lib/cni/results", "/run/containerd/s", "/var/log/containers")
            for path in Path(folder).glob("*")
        ),
        "folders": [str(f) for f in (Path("/var/lib/kubelet"), state.root) if f.exists()],
    }


def _rules(program: str) -> list[str]:
    lines = _printed(program).splitlines()
    return sorted(
        line for line in lines if line.startswith(("-A", ":")) and " ACCEPT [" not in line
    )


def _printed(*command: str) -> str:
    done = subprocess.run(  # noqa: S603 - nothing untrusted
        command, capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout
