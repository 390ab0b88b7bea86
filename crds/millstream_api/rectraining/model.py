"""`spec.model` of a RecTraining: what it computes, predicts and sees."""

from typing import Annotated

from pydantic import ConfigDict, Field

from millstream_api.features import FEATURE_DIM, Features
from millstream_api.manifest import CLICK, ArchitectureName, Tasks
from millstream_api.resources import ModelName, Part, rule, rules


class CustomSpec(Part):
    """A torch module of your own, in a trainer image that has it; see docs/models.md."""

    module: Annotated[
        str,
        Field(
            max_length=200,
            json_schema_extra=rules(
                rule(
                    "self.matches('^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$')",
                    "write package.file:Class, for example module: shop.ranking:Ranker",
                )
            ),
        ),
    ]
    """Where the class is: package.file:Class."""


class ModelSpec(Part):
    """The model and how it begins. A change of anything but the name begins a new lineage."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "(has(self.architecture) && self.architecture == 'Custom') == has(self.custom)",
                "architecture: Custom and custom: {module: package.file:Class} go together: write"
                " both or neither",
                ".custom",
            ),
            rule(
                "!has(self.tasks) || self.tasks.size() < 2 || !has(self.architecture)"
                " || self.architecture in ['DIN', 'MLP']",
                "only architectures DIN and MLP learn conversions: write one of them, or"
                " tasks: [Click]",
                ".tasks",
            ),
        )
    )

    name: ModelName | None = None
    """Name of the model in the store; by default the name of the object."""

    architecture: ArchitectureName = "DIN"
    """What the dense part computes: attention over the user's history (DIN), a user vector times
    the item's row (DotProduct), one perceptron over both and the mean of the history (MLP), or a
    module of your own (Custom)."""

    tasks: Annotated[
        Tasks,
        Field(
            json_schema_extra=rules(
                rule(
                    "self == ['Click'] || self == ['Click', 'Conversion']",
                    "write tasks: [Click], or tasks: [Click, Conversion] to rank by the chance of"
                    " both",
                )
            ),
        ),
    ] = CLICK
    """What is predicted of an event: a click, or a click and then a conversion; what is served is
    the chance of all of them. Conversion is for architectures DIN and MLP."""

    custom: CustomSpec | None = None
    """The module, of architecture Custom."""

    embedding_dim: Annotated[int, Field(ge=4, le=512, multiple_of=4)] = 64
    """Numbers in one embedding; a multiple of 4."""

    history_length: Annotated[int, Field(ge=1, le=1000)] = 50
    """Items of a user's past that the model sees."""

    features: Features = ()
    """What the model sees of the context of an event or a request."""

    feature_dim: Annotated[int, Field(ge=4, le=64, multiple_of=4)] = FEATURE_DIM
    """Numbers in the embedding of a feature; a multiple of 4."""

    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of everything random at the beginning."""
