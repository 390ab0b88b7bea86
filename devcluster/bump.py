"""Writes go.mod and go.sum for one Kubernetes version: `python -m devcluster.bump 1.35.4`.

Kubernetes' own go.mod points its 31 staging modules (k8s.io/api, k8s.io/client-go, …) at
folders of its source tree, and `replace` lines do not carry over to a module that imports it.
So this module needs the same lines, pointing at the published versions: v1.35.4 of
k8s.io/kubernetes goes with v0.35.4 of every staging module.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

MODULE = Path(__file__).parent / "kubernetes"


def staging_modules(go_mod: str) -> list[str]:
    """The modules that a go.mod replaces by `./staging/…`, sorted."""
    return sorted(
        set(re.findall(r"^\s*(?:replace\s+)?(\S+)\s+=>\s+\./staging/", go_mod, re.MULTILINE))
    )


def main(version: str) -> None:
    """Replaces go.mod and go.sum by ones for Kubernetes `version`; set it in binaries.py too."""
    major, rest = version.split(".", 1)
    if major != "1":
        sys.exit(f"expected a Kubernetes version such as 1.35.4, got {version}")
    described = subprocess.run(
        ["go", "mod", "download", "-json", f"k8s.io/kubernetes@v{version}"],
        check=True,
        capture_output=True,
        text=True,
        timeout=600,
    )
    upstream = Path(json.loads(described.stdout)["GoMod"]).read_text()
    go_line = re.search(r"^go .*$", upstream, re.MULTILINE)
    if go_line is None:
        sys.exit(f"the go.mod of Kubernetes {version} names no Go version")
    replaced = "\n".join(f"\t{name} => {name} v0.{rest}" for name in staging_modules(upstream))
    (MODULE / "go.mod").write_text(
        f"module millstream.dev/devcluster/kubernetes\n\n{go_line[0]}\n\n"
        f"require k8s.io/kubernetes v{version}\n\nreplace (\n{replaced}\n)\n"
    )
    (MODULE / "go.sum").unlink(missing_ok=True)
    subprocess.run(["go", "mod", "tidy"], check=True, cwd=MODULE, timeout=1800)


if __name__ == "__main__":
    main(sys.argv[1].removeprefix("v"))
