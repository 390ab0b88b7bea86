"""Other people's packages, pinned like ours, in virtual environments that know nothing of ours."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
INSTALL_SECONDS: Final = 1800


def environment(name: str) -> Path:
    """The folder `build/<name>`, in which `requirements/<name>.txt` is installed.

    Installs it where these very pins are not there yet.

    Raises:
        subprocess.CalledProcessError: a package cannot be had.
    """
    pins, folder = ROOT / "requirements" / f"{name}.txt", ROOT / "build" / name
    wanted = hashlib.sha256(pins.read_bytes()).hexdigest()
    mark = folder / "installed"
    if mark.exists() and mark.read_text() == wanted:
        return folder
    print(f"Installing {pins.relative_to(ROOT)} into {folder}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    uv, interpreter = Path(sys.executable).parent / "uv", folder / "bin" / "python"
    for command in (
        ("venv", "--python", sys.executable, folder),
        ("pip", "sync", "--python", interpreter, "--require-hashes", pins),
    ):
        subprocess.run([uv, "--quiet", *command], check=True, timeout=INSTALL_SECONDS)
    mark.write_text(wanted)
    return folder
