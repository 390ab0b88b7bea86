"""`spec.source` of a RecTraining: where the events come from."""

from typing import Annotated

from pydantic import ConfigDict, Field

from millstream_api.resources import GivenTime, Part, rule, rules


class SyntheticSpec(Part):
    """Events from a seeded generator: Zipf users and items, a taste that drifts, new items."""

    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of the generator."""

    users: Annotated[int, Field(ge=1, le=100_000_000)] = 2000
    """How many users there are."""

    items: Annotated[int, Field(ge=1, le=100_000_000)] = 1000
    """How many items there are at the beginning."""

    events_per_second: Annotated[float, Field(gt=0, le=1_000_000)] = 200
    """Events in a second."""

    drift_per_hour: Annotated[float, Field(ge=0, le=1000)] = 1
    """How far the users' taste turns in an hour, in radians."""

    new_items_per_hour: Annotated[float, Field(ge=0, le=1_000_000)] = 60
    """Items that come up in an hour."""

    context_effect: Annotated[float, Field(ge=0, le=10)] = 0
    """How much the device in an event's context decides about a click; taste has 1.2."""

    start_time: GivenTime | None = None
    """Time of the first event; by default the object's creation."""


class MovielensSpec(Part):
    """The 100,000 timestamped ratings of MovieLens 100K, replayed in their order."""

    speed: Annotated[float, Field(gt=0, le=1_000_000_000)] = 50_000
    """Seconds of the recording in one second."""

    start_time: GivenTime | None = None
    """When the first rating is replayed; by default the object's creation."""


class SourceSpec(Part):
    """Where the events come from: exactly one source."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "[has(self.synthetic), has(self.movielens)].filter(named, named).size() == 1",
                "name exactly one source, for example source: {synthetic: {}}; there are"
                " synthetic and movielens",
            )
        )
    )

    synthetic: SyntheticSpec | None = None
    """The seeded generator."""

    movielens: MovielensSpec | None = None
    """The recorded ratings."""
