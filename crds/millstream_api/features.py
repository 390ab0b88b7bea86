"""Context features: what an event or a request says about itself, and what a model makes of it.

One list serves three readers: `spec.model.features` of a RecTraining, the settings of its
workers, and the transform document in the store, from which servers build the same. A feature has
a name, under which events and requests carry its value in their `context`, and exactly one kind.
"""

from typing import Annotated, Final

from pydantic import ConfigDict, Field, PlainSerializer

from millstream_api.resources import Part, rule, rules

MOST_FEATURES: Final = 32
MOST_VALUES: Final = 1000  # of one vocabulary
MOST_BOUNDARIES: Final = 256
MOST_PARTS: Final = 4  # of one cross
LONGEST_NAME: Final = 63
LONGEST_TEXT: Final = 256  # characters of a value
FEATURE_DIM: Final = 8

FeatureName = Annotated[
    str, Field(min_length=1, max_length=LONGEST_NAME, pattern="^[A-Za-z][A-Za-z0-9_]*$")
]
Buckets = Annotated[int, Field(ge=1, le=10_000_000)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
# Far from the end of double precision: the difference of any two is exact enough, and finite.
Number = Annotated[float, Field(ge=-1e15, le=1e15)]


class HashFeature(Part):
    """Any value, by its hash; different values may share an embedding."""

    buckets: Buckets
    """Embeddings there are at most."""

    seed: Seed = 0
    """Of the hash."""

    missing: Text | None = None
    """Value read where there is none; by default having none has an embedding of its own."""


class VocabularyFeature(Part):
    """One of the values listed; all others share one embedding."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.missing) || self.values.exists(value, value == self.missing)",
                "missing is one of the values: add it to values, or leave missing out",
                ".missing",
            )
        )
    )

    values: Annotated[
        tuple[Text, ...],
        Field(
            max_length=MOST_VALUES,
            json_schema_extra={
                "x-kubernetes-list-type": "set",
                **rules(rule("self.size() >= 1", "list at least one value, or use hash")),
            },
        ),
    ]
    """The values; a number is written as text, for example "7"."""

    missing: Text | None = None
    """Value read where there is none; by default having none has an embedding of its own."""


class BucketFeature(Part):
    """A number, by the interval that it lies in; a boundary belongs to the interval above it."""

    boundaries: Annotated[
        tuple[Number, ...],
        Field(
            max_length=MOST_BOUNDARIES,
            json_schema_extra={
                "x-kubernetes-list-type": "set",
                **rules(
                    rule("self.size() >= 1", "list at least one boundary"),
                    rule("self.isSorted()", "boundaries rise: write the smallest first"),
                ),
            },
        ),
    ]
    """Where intervals end and begin, the smallest first."""

    missing: Number | None = None
    """Number read where there is none; by default having none has an embedding of its own."""


class NormaliseFeature(Part):
    """A number as it is, brought to a scale that the network can work with."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "(has(self.mean) && has(self.std)) != (has(self.min) && has(self.max))"
                " && has(self.mean) == has(self.std) && has(self.min) == has(self.max)",
                "write either mean and std or min and max, for example"
                " normalise: {mean: 20, std: 5}",
            ),
            rule(
                "!has(self.std) || self.std > 0.0",
                "std is above 0: a number that never differs tells a model nothing",
                ".std",
            ),
            rule(
                "!has(self.min) || !has(self.max) || self.min < self.max",
                "min is below max",
                ".min",
            ),
        )
    )

    mean: Number | None = None
    """Subtracted; what is ten times std away or more reads as ten times."""

    std: Number | None = None
    """Divided by."""

    min: Number | None = None
    """Becomes 0, as does what is smaller."""

    max: Number | None = None
    """Becomes 1, as does what is larger."""

    log: bool = False
    """Takes log(1 + number) first (numbers below 0 read as 0); mean, std, min and max are of
    these logarithms."""

    missing: Number | None = None
    """Number read where there is none; by default having none is told by an input of its own."""


class CrossFeature(Part):
    """The values of several features together, by their hash."""

    of: Annotated[
        tuple[FeatureName, ...],
        Field(
            min_length=2, max_length=MOST_PARTS, json_schema_extra={"x-kubernetes-list-type": "set"}
        ),
    ]
    """Names of features of the kinds hash, vocabulary and bucket."""

    buckets: Buckets
    """Embeddings there are at most."""

    seed: Seed = 0
    """Of the hash."""


class FeatureSpec(Part):
    """One feature: its name and exactly one kind."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "[has(self.hash), has(self.vocabulary), has(self.bucket), has(self.normalise),"
                " has(self.cross)].filter(named, named).size() == 1",
                "name exactly one kind, for example hash: {buckets: 1000}; there are hash,"
                " vocabulary, bucket, normalise and cross",
            )
        )
    )

    name: FeatureName
    """Under which a context carries the value; of a cross, any."""

    hash: HashFeature | None = None
    """Any value."""

    vocabulary: VocabularyFeature | None = None
    """A value of a list."""

    bucket: BucketFeature | None = None
    """A number, by interval."""

    normalise: NormaliseFeature | None = None
    """A number, as it is."""

    cross: CrossFeature | None = None
    """Several features together."""


# As a person writes it, and nothing that is not said: a kind or a field that is added later does
# not change the documents, and so the fingerprints, of those that do without it.
Feature = Annotated[FeatureSpec, PlainSerializer(FeatureSpec.document)]

FEATURE_RULES: Final = rules(
    rule(
        "self.all(one, self.exists_one(other, other.name == one.name))",
        "two features have the same name: give each its own",
    ),
    rule(
        "self.all(one, !has(one.cross) || one.cross.of.all(part,"
        " self.exists(other, other.name == part)))",
        "a cross names a feature that is not there: add that feature to the list",
    ),
    rule(
        "self.all(one, !has(one.cross) || one.cross.of.all(part, !self.exists(other,"
        " other.name == part && (has(other.cross) || has(other.normalise)))))",
        "a cross is made of features of the kinds hash, vocabulary and bucket: instead of a cross,"
        " name its parts; instead of normalise, use bucket",
    ),
)
Features = Annotated[
    tuple[FeatureSpec, ...], Field(max_length=MOST_FEATURES, json_schema_extra=FEATURE_RULES)
]
