"""Packages of the distribution, installed by name on Debian and Ubuntu, as root."""

import shutil
from collections.abc import Sequence

from devcluster.commands import run

UPDATE_SECONDS = 600
INSTALL_SECONDS = 1200


def is_here() -> bool:
    """Whether this machine installs packages as Debian does."""
    return shutil.which("apt-get") is not None


def install(packages: Sequence[str]) -> None:
    """Installs packages, and what they depend on.

    Raises:
        DevclusterError: They cannot be had, or not by this user.
    """
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update", "--quiet"], seconds=UPDATE_SECONDS, env=quiet)
    # Recommended packages would bring services that start at boot.
    options = ["--yes", "--quiet", "--no-install-recommends"]
    run(["apt-get", "install", *options, *packages], seconds=INSTALL_SECONDS, env=quiet)
