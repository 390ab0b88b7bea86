"""Which tests may run side by side: those of different files, but there is one full cluster."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group tests for pytest-xdist, which hands whole groups to its workers in this order."""
    for item in items:
        height, *_ = item.path.relative_to(HERE).parts
        group = "the full cluster" if height == "e2e" else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
