"""Writes the CustomResourceDefinitions from the models: `python -m millstream_api.crd [--check]`.

pydantic's JSON schema says what we mean, but not in the words the API server demands: a
structural schema has no references, no unions with null, no titles, and its own spelling of
bounds. This module inlines and translates, and stops at any keyword it was not taught, since an
ignored keyword would be a rule that nobody enforces. The YAML goes to `crds/` and, wrapped in
the chart's switches, to `charts/millstream/templates/crds/`; a test runs `--check`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from millstream_api import names, recserving, rectraining
from millstream_api.resources import name_rule

if TYPE_CHECKING:
    from types import ModuleType

    from pydantic import BaseModel

Schema = dict[str, Any]

NAME_LIMIT: Final = 40  # leaves room for the suffixes of children in 63-character labels
_FOLDER: Final = Path(__file__).resolve().parents[1]
_CHART: Final = _FOLDER.parent / "charts" / "millstream" / "templates" / "crds"

_KEPT: Final = {
    "default",
    "description",
    "enum",
    "format",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "multipleOf",
    "pattern",
    "type",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-validations",
}
_DROPPED: Final = {"additionalProperties", "title", "x-millstream-optional"}
_CONDITION: Final = '.status.conditions[?(@.type=="{}")].{}'


def structural(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """One node of pydantic's JSON schema as the API server wants it, references inlined.

    Raises:
        ValueError: a keyword has no translation here.
    """
    schema = _resolved(schema, definitions)
    node: Schema = {}
    for keyword, value in schema.items():
        match keyword:
            case "properties":
                node[keyword] = {
                    name: structural(child, definitions) for name, child in value.items()
                }
            case "items":
                node[keyword] = structural(value, definitions)
            case "additionalProperties" if isinstance(value, dict):
                node[keyword] = structural(value, definitions)
            case "required":
                demanded = [
                    name for name in value if name not in schema.get("x-millstream-optional", ())
                ]
                if demanded:
                    node[keyword] = demanded
            case "const":
                node["enum"] = [value]
            case "exclusiveMinimum":
                node |= {"minimum": value, "exclusiveMinimum": True}
            case "anyOf" if schema.get("x-kubernetes-int-or-string"):
                node[keyword] = value
            case "default" if isinstance(value, dict) and value:
                node[keyword] = {}  # the defaults within fill it
            case _ if keyword in _KEPT:
                node[keyword] = value
            case _ if keyword in _DROPPED:
                pass
            case _:
                raise ValueError(f"no translation of the schema keyword {keyword}: {schema}")
    if node.get("default", ...) is None:
        del node["default"]
    return node


def _resolved(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """`schema` without `$ref` and without the null branch; what stands beside them wins."""
    if "$ref" in schema:
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        target = definitions[schema["$ref"].removeprefix("#/$defs/")]
        return _resolved({**target, **rest}, definitions)
    branches = [branch for branch in schema.get("anyOf", ()) if branch != {"type": "null"}]
    if len(branches) == 1:
        rest = {key: value for key, value in schema.items() if key != "anyOf"}
        return _resolved({**_resolved(branches[0], definitions), **rest}, definitions)
    return schema


def schema_of(model: type[BaseModel]) -> Schema:
    """The structural schema of a model."""
    found = model.model_json_schema(by_alias=True, mode="validation")
    return structural(found, found.pop("$defs", {}))


def _column(name: str, path: str, kind: str = "string", *, wide: bool = False) -> Schema:
    column: Schema = {"name": name, "type": kind, "jsonPath": path}
    return {**column, "priority": 1} if wide else column


def definition(
    kind: str,
    short: str,
    module: ModuleType,
    spec: type[BaseModel],
    status: type[BaseModel],
    columns: list[Schema],
) -> Schema:
    """One CustomResourceDefinition, described by the first line of its module."""
    plural = f"{kind.lower()}s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
                "categories": [names.CATEGORY],
            },
            "versions": [
                {
                    "name": names.API_VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "additionalPrinterColumns": columns,
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "description": (module.__doc__ or "").split("\n")[0],
                            "required": ["spec"],
                            "properties": {
                                "apiVersion": {"type": "string"},
                                "kind": {"type": "string"},
                                "metadata": {"type": "object"},
                                "spec": schema_of(spec),
                                "status": schema_of(status),
                            },
                            "x-kubernetes-validations": [name_rule(NAME_LIMIT)],
                        }
                    },
                }
            ],
        },
    }


def definitions() -> dict[str, Schema]:
    """Both CustomResourceDefinitions by the name of their file."""
    ready = _column("Ready", _CONDITION.format("Ready", "status"))
    reason = _CONDITION.format("Ready", "reason")
    age = _column("Age", ".metadata.creationTimestamp", "date")
    return {
        "rectrainings.yaml": definition(
            "RecTraining",
            "rtr",
            rectraining,
            rectraining.RecTrainingSpec,
            rectraining.RecTrainingStatus,
            [
                ready,
                _column("Workers", ".status.workers"),
                _column("Util", ".status.utilization"),
                _column("Lag", ".status.lag"),
                _column("Version", ".status.version", "integer"),
                _column("Freshness", ".status.watermark", "date"),
                _column("Reason", reason),
                _column("Model", ".status.model", wide=True),
                _column("Lineage", ".status.lineage", wide=True),
                _column("AUC", ".status.validation.auc", "number", wide=True),
                age,
            ],
        ),
        "recservings.yaml": definition(
            "RecServing",
            "rsv",
            recserving,
            recserving.RecServingSpec,
            recserving.RecServingStatus,
            [
                ready,
                _column("Stable", ".status.stableVersion", "integer"),
                _column("Candidate", ".status.candidateVersion", "integer"),
                _column("Batch", ".status.batch"),
                _column("Phase", ".status.phase"),
                _column("Replicas", ".status.servers"),
                _column("Freshness", ".status.watermark", "date"),
                _column("Model", ".spec.model.name", wide=True),
                _column("Pending", ".status.pendingVersion", "integer", wide=True),
                _column("Quarantined", ".status.quarantined[*].version", "string", wide=True),
                _column("Reason", reason, wide=True),
                age,
            ],
        ),
    }


class _WithoutAliases(yaml.SafeDumper):
    """Writes twice what occurs twice: these files are read by people."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


def _yaml(document: Schema) -> str:
    return yaml.dump(
        document, Dumper=_WithoutAliases, sort_keys=False, width=100, allow_unicode=True
    )


def _template(name: str, document: Schema) -> str:
    """The chart's copy: switched by crds.enabled, kept at uninstall by crds.keep."""
    text = _yaml(document).replace("{{", '{{ "{{" }}')
    keep = (
        "  {{- if .Values.crds.keep }}\n"
        "  annotations:\n"
        "    helm.sh/resource-policy: keep\n"
        "  {{- end }}\n"
    )
    head, found, rest = text.partition(f"  name: {document['metadata']['name']}\n")
    assert found, name
    return (
        f"{{{{- /* Written by `python -m millstream_api.crd` from crds/{name}. */}}}}\n"
        f"{{{{- if .Values.crds.enabled }}}}\n{head}{found}{keep}{rest}{{{{- end }}}}\n"
    )


def files() -> dict[Path, str]:
    """Every generated file and what it must hold."""
    written: dict[Path, str] = {}
    for name, document in definitions().items():
        written[_FOLDER / name] = f"# Written by `python -m millstream_api.crd`.\n{_yaml(document)}"
        written[_CHART / name] = _template(name, document)
    return written


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or say which of them are not what the models say."""
    parser = argparse.ArgumentParser(description="Write the CRDs from the models.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a difference")
    check = parser.parse_args(arguments).check
    stale = [
        path
        for path, text in files().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        if check:
            print(f"{path.name} in {path.parent.name}/ differs: run python -m millstream_api.crd")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files()[path], encoding="utf-8")
            print(f"wrote {path.name} in {path.parent.name}/")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
