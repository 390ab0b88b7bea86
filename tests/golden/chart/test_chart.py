"""The chart as it renders, to be read and reviewed; the definitions have their own files."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.builders.golden import same_as
from tests.builders.operator_cluster import helm_template

HERE = Path(__file__).parent
EVERYTHING = HERE / "everything.values.yaml"

CASES = {
    "defaults": (),
    "two namespaces": ("--set", "watchNamespaces={shop,movies}"),
    "everything": ("--values", str(EVERYTHING)),
}


@pytest.mark.parametrize(("name", "words"), CASES.items(), ids=CASES)
def test_the_chart(name: str, words: tuple[str, ...]):
    bodies = [body for body in helm_template(*words) if body["kind"] != "CustomResourceDefinition"]
    text = yaml.safe_dump_all(bodies, sort_keys=False, width=100)
    assert same_as(HERE / f"{name.replace(' ', '-')}.yaml", text)
