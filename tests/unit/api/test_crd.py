"""The CRDs on disk are what the models say, and the translation drops no rule."""

import pytest

from millstream_api import crd
from millstream_api.recserving import RecServingSpec
from millstream_api.rectraining import RecTrainingSpec
from millstream_api.resources import Part


def test_the_files_on_disk_are_current(capsys: pytest.CaptureFixture[str]):
    assert crd.main(["--check"]) == 0, capsys.readouterr().out


def nodes(schema: dict):
    yield schema
    for child in schema.get("properties", {}).values():
        yield from nodes(child)
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            yield from nodes(schema[keyword])


@pytest.mark.parametrize("model", [RecTrainingSpec, RecServingSpec])
def test_every_string_list_and_map_of_a_spec_is_bounded(model: type[Part]):
    """CEL's cost is estimated from the bounds; an unbounded field can make a CRD uninstallable."""
    for node in nodes(crd.schema_of(model)):
        match node.get("type"):
            case "string":
                assert node.keys() & {"maxLength", "enum", "format"}, node
            case "array":
                assert "maxItems" in node, node
            case "object" if "additionalProperties" in node:
                assert "maxProperties" in node, node


@pytest.mark.parametrize("model", [RecTrainingSpec, RecServingSpec])
def test_every_field_of_a_spec_is_described(model: type[Part]):
    for node in nodes(crd.schema_of(model)):
        for name, child in node.get("properties", {}).items():
            assert child.get("description"), name


def test_a_keyword_without_translation_is_an_error():
    with pytest.raises(ValueError, match="no translation of the schema keyword uniqueItems"):
        crd.structural({"type": "array", "uniqueItems": True}, {})


def test_references_and_null_branches_are_inlined():
    found = crd.structural(
        {"anyOf": [{"$ref": "#/$defs/X"}, {"type": "null"}], "default": None, "description": "d"},
        {"X": {"type": "integer", "exclusiveMinimum": 0, "title": "X", "description": "x"}},
    )
    assert found == {
        "type": "integer",
        "minimum": 0,
        "exclusiveMinimum": True,
        "description": "d",
    }


def test_a_rule_that_speaks_for_required_replaces_it():
    store = crd.schema_of(RecServingSpec)["properties"]["store"]
    assert store["required"] == ["bucket"]
    assert any(
        "has(self.credentialsSecretRef)" in rule["rule"]
        for rule in store["x-kubernetes-validations"]
    )
