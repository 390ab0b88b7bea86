"""What both custom resources are made of: the model base, times, the store, pod settings.

A custom resource is a pydantic model twice over: it reads objects in the operator, and
`millstream_api.crd` turns it into the schema that the API server enforces. A string below a field
becomes the field's description in the schema, so `kubectl explain` says the same as this file.
Rules between fields are CEL (`rule`), because only the API server can refuse an object at
`kubectl apply` with a sentence that helps; each says what to write instead.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

type_date_time: Final = {"type": "string", "format": "date-time"}

Time = Annotated[
    AwareDatetime,
    PlainSerializer(lambda t: t.isoformat(timespec="seconds").replace("+00:00", "Z")),
    WithJsonSchema(type_date_time),
]
PreciseTime = Annotated[
    AwareDatetime,
    PlainSerializer(lambda t: t.isoformat(timespec="milliseconds").replace("+00:00", "Z")),
    WithJsonSchema(type_date_time),
]
# What a person writes. The schema's own date-time admits times without a zone, of which nobody
# knows when they are.
GivenTime = Annotated[
    AwareDatetime,
    PlainSerializer(lambda t: t.isoformat().replace("+00:00", "Z")),
    WithJsonSchema(
        {
            "type": "string",
            "maxLength": 64,
            "x-kubernetes-validations": [
                {
                    "rule": "self.matches('^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"
                    "([.][0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})$')"
                    " && timestamp(self) > timestamp(0)",
                    "message": "write a time with its zone, for example 2026-01-02T03:04:05Z",
                }
            ],
        }
    ),
]
_TIME: Final[TypeAdapter[AwareDatetime]] = TypeAdapter(AwareDatetime)


def at(seconds: float) -> AwareDatetime:
    """The UTC time at Unix `seconds`, to the millisecond (what status can hold)."""
    return _TIME.validate_python(int(seconds * 1000) / 1000)


class Part(BaseModel):
    """A part of a spec: camelCase outside, and nothing that it does not know."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    def document(self) -> dict[str, Any]:
        """This part as the JSON that the API server stores; absent fields are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class StatusPart(Part):
    """A part of a status: one written by another release may hold more, which is ignored."""

    model_config = ConfigDict(extra="ignore")


def rule(expression: str, message: str, field: str | None = None) -> dict[str, str]:
    """One CEL rule of a schema node.

    Args:
        expression: what must hold of `self`.
        message: what to write instead, as a sentence to the person who wrote the object.
        field: JSON path below the node that the message is about, e.g. `.minReplicas`.
    """
    found = {"rule": expression, "message": message}
    return found if field is None else {**found, "fieldPath": field}


def rules(*found: dict[str, str], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """`json_schema_extra` with CEL rules.

    Args:
        found: the rules of this node.
        optional: fields that a rule demands in better words than the schema's `required`.
    """
    return {"x-kubernetes-validations": list(found), "x-millstream-optional": list(optional)}


Name = Annotated[str, Field(min_length=1, max_length=253)]
Image = Annotated[str, Field(min_length=1, max_length=512)]
Quantity = Annotated[
    str,
    Field(coerce_numbers_to_str=True),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": r"^[0-9]+(\.[0-9]+)?([mkKMGTPE]|[KMGTPE]i)?$",
            "maxLength": 32,
        }
    ),
]
Quantities = Annotated[dict[str, Quantity], Field(max_length=16)]
Label = Annotated[str, Field(max_length=63)]


class SecretRef(Part):
    """Names a Secret of the object's own namespace."""

    name: Name
    """Name of the Secret; it holds the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""


_CREDENTIALS: Final = (
    "name a Secret of this namespace with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "for example credentialsSecretRef: {name: s3-credentials}"
)


class StoreSpec(Part):
    """The S3 bucket in which the versions of the model are."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("has(self.credentialsSecretRef)", _CREDENTIALS, ".credentialsSecretRef"),
            optional=("credentialsSecretRef",),
        )
    )

    endpoint: (
        Annotated[
            str,
            Field(
                max_length=512,
                json_schema_extra=rules(
                    rule(
                        "isURL(self) && (self.startsWith('http://')"
                        " || self.startsWith('https://'))",
                        "endpoint is a URL that starts with http:// or https://, for example"
                        " http://s3.example:9000; leave it out for AWS itself",
                    ),
                    rule(
                        "!self.contains('@')",
                        "endpoint carries no user or password; put them into the Secret that"
                        " credentialsSecretRef names",
                    ),
                    rule(
                        "!isURL(self) || url(self).getEscapedPath() in ['', '/']",
                        "endpoint ends after host and port; name the bucket in bucket and the"
                        " path in prefix",
                    ),
                ),
            ),
        ]
        | None
    ) = None
    """URL of the S3 server; without it AWS itself."""

    region: Annotated[str, Field(min_length=1, max_length=64)] = "us-east-1"
    """Region that requests are signed for."""

    bucket: Annotated[
        str,
        Field(
            max_length=255,
            json_schema_extra=rules(
                rule(
                    "self.matches('^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$')",
                    "bucket is 3 to 63 lower-case letters, digits, dots or dashes and nothing"
                    " else; a path within it goes into prefix",
                )
            ),
        ),
    ]
    """Name of the bucket."""

    prefix: Annotated[
        str,
        Field(
            max_length=512,
            json_schema_extra=rules(
                rule(
                    "!self.startsWith('/') && !self.endsWith('/') && !self.contains('//')",
                    "prefix is written without a slash at either end and without empty parts,"
                    " for example teams/shop",
                ),
                rule(
                    "!self.split('/').exists(part, part == '.' || part == '..')",
                    "prefix names a path from the root of the bucket; it may not contain . or ..",
                ),
                rule(
                    "self.matches('^[A-Za-z0-9._/-]*$')",
                    "prefix consists of letters, digits, dots, underscores, dashes and slashes",
                ),
            ),
        ),
    ] = ""
    """Path within the bucket under which models are."""

    credentials_secret_ref: SecretRef
    """The Secret with the credentials; programs get them as environment variables."""


class TracingSpec(Part):
    """The collector that traces are sent to, by OpenTelemetry's protocol over HTTP."""

    endpoint: Annotated[
        str,
        Field(
            max_length=512,
            json_schema_extra=rules(
                rule(
                    "isURL(self) && (self.startsWith('http://') || self.startsWith('https://'))",
                    "endpoint is a URL that starts with http:// or https://, for example"
                    " http://collector.observability:4318",
                ),
                rule(
                    "!self.contains('@')",
                    "endpoint carries no user or password; send to a collector in the cluster"
                    " that has them",
                ),
                rule(
                    "!self.endsWith('/v1/traces')",
                    "endpoint is written without /v1/traces, which is added to it",
                ),
            ),
        ),
    ]
    """URL of the collector's OTLP/HTTP receiver, without /v1/traces."""


class Resources(Part):
    """What a container asks for and may use, as in a Pod."""

    requests: Quantities = Field(default_factory=dict)
    """What the scheduler sets aside, by resource."""

    limits: Quantities = Field(default_factory=dict)
    """What the container may use at most, by resource."""


class Toleration(Part):
    """A taint that pods accept, as in a Pod."""

    key: Annotated[str, Field(max_length=317)] | None = None
    """Key of the taint; empty with operator Exists accepts every taint."""

    operator: Annotated[str, WithJsonSchema({"type": "string", "enum": ["Equal", "Exists"]})] = (
        "Equal"
    )
    """How the value is compared."""

    value: Label | None = None
    """Value of the taint."""

    effect: (
        Annotated[
            str,
            WithJsonSchema(
                {"type": "string", "enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]}
            ),
        ]
        | None
    ) = None
    """Effect of the taint; without it all effects."""

    toleration_seconds: Annotated[int, Field(ge=0)] | None = None
    """How long a NoExecute taint is tolerated."""


NodeSelector = Annotated[dict[str, Label], Field(max_length=32)]
Tolerations = Annotated[tuple[Toleration, ...], Field(max_length=16)]


def name_rule(limit: int) -> dict[str, str]:
    """The rule of an object's own name, after which Services and pods are named."""
    return rule(
        f"self.metadata.name.size() <= {limit}"
        " && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        f"metadata.name has at most {limit} characters, starts with a letter and consists of"
        " lower-case letters, digits and dashes: a Service and pods are named after it",
    )


MODEL_NAME_RULE: Final = rule(
    "self.matches('^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$') && !self.contains('..')",
    "a model's name consists of letters, digits, dots, underscores and dashes and starts and ends"
    " with a letter or digit: it is one folder in the store",
)
ModelName = Annotated[
    str, Field(min_length=1, max_length=63, json_schema_extra=rules(MODEL_NAME_RULE))
]
