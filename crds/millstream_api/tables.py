"""How embedding tables grow, forget and are served: a part of RecTraining and of its settings.

Each question has its own field, so that a table that nobody tunes says nothing: who gets a row
(admission), who loses it (eviction), what is read where there is none (defaultRow), in how many
bytes servers keep it (servedAs), and how much of it trainers keep in memory (memory).
"""

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from millstream_api.resources import Part, rule, rules

_UNITS: Final = {"Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}

Size = Annotated[str, Field(pattern="^[1-9][0-9]{0,5}[MGT]i$", max_length=8)]
Threshold = Annotated[int, Field(ge=1, le=1_000_000)]


class CounterAdmission(Part):
    """Counts every key exactly; each key that waits costs about 100 bytes, until eviction.ttl."""

    threshold: Threshold
    """Occurrences in training from which on a key has a row."""


class CountMinAdmission(Part):
    """Counts keys in a sketch of fixed size; may admit a key too soon, never too late."""

    threshold: Threshold
    """Occurrences in training from which on a key has a row."""

    width: Annotated[int, Field(ge=16, le=1 << 28)] = 1 << 20
    """Counters in one row of the sketch."""

    depth: Annotated[int, Field(ge=1, le=8)] = 4
    """Rows of the sketch."""

    half_life_seconds: Annotated[float, Field(gt=0)] | None = None
    """Event time in which a count halves; by default counts do not age."""


class ProbabilisticAdmission(Part):
    """Admits each occurrence of an unknown key with a fixed chance; remembers nothing."""

    probability: Annotated[float, Field(gt=0, le=1)]
    """The chance."""


class AdmissionSpec(Part):
    """Which keys get a row; with nothing named, every key does at its first occurrence."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "[has(self.counter), has(self.countMin), has(self.probabilistic)]"
                ".filter(named, named).size() <= 1",
                "name one way of admission at most, for example admission: {counter: {threshold:"
                " 3}}; there are counter, countMin and probabilistic",
            )
        )
    )

    counter: CounterAdmission | None = None
    """Exact counts."""

    count_min: CountMinAdmission | None = None
    """Counts in a sketch."""

    probabilistic: ProbabilisticAdmission | None = None
    """Chance."""


class TtlEviction(Part):
    """Rows that were not trained for long, by event time."""

    seconds: Annotated[float, Field(gt=0)]
    """Event time without training after which a row goes."""


class LfuEviction(Part):
    """The rows that were trained least often, once there are more than the capacity."""

    capacity: Annotated[int, Field(ge=1, le=1 << 31)]
    """Rows at most, after any step. Once there were more, a 64th of the capacity is free."""

    half_life_seconds: Annotated[float, Field(gt=0)] | None = None
    """Event time in which a frequency halves; by default frequencies do not age."""


class L2Eviction(Part):
    """Rows whose embedding is next to nothing."""

    threshold: Annotated[float, Field(gt=0)]
    """Euclidean norm below which a row goes."""


class EvictionSpec(Part):
    """Which rows go; each one named applies. With nothing named, rows stay for ever."""

    ttl: TtlEviction | None = None
    """By age."""

    lfu: LfuEviction | None = None
    """By frequency."""

    l2: L2Eviction | None = None
    """By norm."""


class MemorySpec(Part):
    """How much memory and disk the rows of a table may take where they are trained."""

    budget: Size
    """Memory of rows, for example 2Gi. What is known of every key, about 100 bytes, comes on
    top."""

    overflow: Size
    """Disk of rows beyond the budget, for example 20Gi. Those used least are there; it is a volume
    on the node's own disk, twice as large, so that a trainer can go back to a version."""


class MultiHashSpec(Part):
    """Keys without end in few rows: each reads as the sum of one row from each small table."""

    tables: Annotated[int, Field(ge=2, le=3)] = 2
    """Small tables."""

    rows: Annotated[int, Field(ge=1024, le=1 << 30)]
    """Rows of each. Two keys cannot be told apart by chance of one in rows to the power of
    tables."""

    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of the hashes."""


_NO_RULES_WITH_MULTI_HASH: Final = "!has(self.multiHash) || !({})".format(
    " || ".join(
        f"(has(self.{part}) && has(self.{part}.{name}))"
        for part, names in {
            "admission": ("counter", "countMin", "probabilistic"),
            "eviction": ("ttl", "lfu", "l2"),
        }.items()
        for name in names
    )
)


class EmbeddingTableSpec(Part):
    """A table of embeddings."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                _NO_RULES_WITH_MULTI_HASH,
                "keys of multiHash share their rows, so none can wait for a row or lose it: leave"
                " out admission and eviction, or multiHash",
            )
        )
    )

    admission: AdmissionSpec = AdmissionSpec()
    """Which keys get a row."""

    eviction: EvictionSpec = EvictionSpec()
    """Which rows go."""

    multi_hash: MultiHashSpec | None = None
    """For keys without end; by default every key has a row of its own. Of items, those whose rows
    are all trained already never count as new. A change begins a new lineage."""

    memory: MemorySpec | None = None
    """Where rows are; by default in memory, all of them."""

    default_row: Literal["Zeros", "SharedOov", "HashInit"] = "Zeros"
    """What a key without a row reads as: zeros, one trained row for all, or what the key's own
    row would begin with. A change begins a new lineage."""

    served_as: Literal["float32", "float16", "int8"] = "float32"
    """How servers keep a row's values. A change begins a new lineage."""


class HistoryTableSpec(Part):
    """The table of users' last items."""

    eviction: EvictionSpec = Field(
        default=EvictionSpec(),
        json_schema_extra=rules(
            rule("!has(self.l2)", "histories have no norm: write eviction: {ttl: …} or {lfu: …}")
        ),
    )
    """Which histories go."""

    memory: MemorySpec | None = None
    """Where histories are; by default in memory, all of them."""


class TablesSpec(Part):
    """How the tables of the model grow, forget and are served."""

    user: EmbeddingTableSpec = EmbeddingTableSpec()
    """Embeddings of users."""

    item: EmbeddingTableSpec = EmbeddingTableSpec()
    """Embeddings of items."""

    history: HistoryTableSpec = HistoryTableSpec()
    """Last items of each user."""

    def overflow_bytes(self) -> int:
        """Disk that the rows of all tables may take."""
        memories = (self.user.memory, self.item.memory, self.history.memory)
        return sum(bytes_of(memory.overflow) for memory in memories if memory is not None)


def bytes_of(size: Size) -> int:
    """How many bytes a size is."""
    return int(size[:-2]) * _UNITS[size[-2:]]
