"""These tests make and remove the machine's one full cluster, so they run before all others."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Moves this folder's tests to the front: later ones may share a cluster that stays up."""
    items.sort(key=lambda item: HERE not in item.path.parents)
