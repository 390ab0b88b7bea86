"""The peers' packages, pinned like our own, in a virtual environment that knows nothing of ours."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
REQUIREMENTS: Final = ROOT / "requirements" / "peers.txt"
INSTALL_SECONDS: Final = 1800


def peers_environment(folder: Path) -> Path:
    """Where the peers are installed; installs them where these pins are not there yet.

    Raises:
        subprocess.CalledProcessError: a package cannot be had.
    """
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    mark = folder / "installed"
    if mark.exists() and mark.read_text() == wanted:
        return folder
    print(
        f"Installing the peers into {folder} (about a minute; 6 GB, most of it torch)", flush=True
    )
    uv = Path(sys.executable).parent / "uv"
    shutil.rmtree(folder, ignore_errors=True)
    interpreter = folder / "bin" / "python"
    for command in (
        ["venv", "--quiet", "--python", sys.executable, str(folder)],
        [
            "pip",
            "sync",
            "--quiet",
            "--python",
            str(interpreter),
            "--require-hashes",
            str(REQUIREMENTS),
        ],
    ):
        subprocess.run([uv, *command], check=True, timeout=INSTALL_SECONDS)
    mark.write_text(wanted)
    return folder
