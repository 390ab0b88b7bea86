"""The manifest: everything there is to know about one version, without its bytes.

The trainer writes it after the data and before the commit object; readers reach it only through
a commit. It makes dense weights, sparse rows, transforms and stream positions one atomic thing.
Keys of rows are 64-bit and therefore strings here: JSON numbers end at 2^53.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from millstream_api.wire import Wire

FORMAT_VERSION: Final = 1

Group = Literal["train", "serve"]
# How a row's values lie in a file. `int8rows` is quantised by row: one byte a value, then scale and
# offset as float16, so a row of `width` values takes width + 4 bytes.
Dtype = Literal["float32", "float16", "int8rows", "int64", "uint32"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# DIN: attention over the history; DotProduct: the user's tower and the item's row; MLP: one
# perceptron over the user, the item and the mean of the history; Custom: a module of the user's.
ArchitectureName = Literal["DIN", "DotProduct", "MLP", "Custom"]
# What is predicted of an event: that it is a click, and of a click that it is a conversion.
Task = Literal["Click", "Conversion"]
CLICK: Final[tuple[Task, ...]] = ("Click",)
CLICK_AND_CONVERSION: Final[tuple[Task, ...]] = ("Click", "Conversion")


def _refuse_others(tasks: tuple[Task, ...]) -> tuple[Task, ...]:
    if tasks not in {CLICK, CLICK_AND_CONVERSION}:
        raise ValueError("tasks are Click, or Click and Conversion in this order")
    return tasks


Tasks = Annotated[tuple[Task, ...], Field(max_length=2), AfterValidator(_refuse_others)]
# Names that become part of an object's key: no way up, no empty step, nothing to be escaped.
Lineage = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
RelativePath = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$")
]
# Far beyond what anybody trains, and near enough that no reader reserves what it cannot have.
Rows = Annotated[int, Field(ge=0, lt=1 << 31)]
Width = Annotated[int, Field(ge=1, le=1 << 12)]


class VersionRef(Wire):
    """Names one version exactly: where it is and what it must be."""

    lineage: Lineage
    version: int = Field(ge=0)
    digest: Sha256  # of the manifest

    def __str__(self) -> str:
        return f"{self.version}"


class ObjectRef(Wire):
    """One immutable object below the lineage, with what its bytes must be."""

    path: RelativePath  # relative to <prefix>/<model>/<lineage>/
    bytes: int = Field(ge=0)
    sha256: Sha256


class Shard(Wire):
    """The rows of one range of virtual buckets, keys ascending."""

    group: Group
    buckets: tuple[int, int]  # half-open range of the 1,024 virtual buckets
    rows: Rows
    keys: ObjectRef  # int64[rows], little-endian
    columns: dict[str, ObjectRef]  # name -> dtype[rows, width], little-endian, see Table.columns
    evicted: ObjectRef | None = None  # int64 keys that left in this version
    erased: ObjectRef | None = None  # int64 keys that were forgotten on request


class Column(Wire):
    """How one column of a table is stored."""

    dtype: Dtype
    width: Width  # values in one row
    group: Group  # who reads it; the serve group travels to servers


class DefaultRow(Wire):
    """What a key without a row reads as, to the bit the same in trainer and server.

    SharedOov reads as the row of the key PAD, which training updates like any other. HashInit
    reads as what the key's own row would begin with: drawn from (-spread, spread) by key and seed
    alone, and never quantised.
    """

    policy: Literal["Zeros", "SharedOov", "HashInit"] = "Zeros"
    seed: int = Field(default=0, ge=0, lt=1 << 53)
    spread: float = Field(default=0.0, ge=0, le=1e6)


class MultiHash(Wire):
    """Keys are sums of one row from each of a few small tables; see `tables.multihash`.

    Keys of the table are then those of its rows: t · rows + r for row r of small table t.
    """

    tables: int = Field(ge=2, le=3)
    rows: int = Field(ge=1, lt=1 << 31)  # of each small table
    seed: int = Field(ge=0, lt=1 << 53)


class Table(Wire):
    """One table keyed by 64-bit ids, as of this version."""

    columns: dict[str, Column]
    default: DefaultRow = DefaultRow()
    multi_hash: MultiHash | None = None  # None: a key has a row of its own
    seed: int  # of the row initialiser
    rows: Rows  # alive in this version
    touched: Rows  # rows written by this version
    digest_before: str  # order-independent state digest of the serve columns
    digest_after: str
    shards: tuple[Shard, ...]


class ContextInputs(Wire):
    """What the head reads of the context of a request: rows of the table `context`, and floats."""

    rows: int = Field(default=0, ge=0, le=64)  # features that read a row
    dim: int = Field(default=0, ge=0, le=1 << 12)  # values in one
    floats: int = Field(default=0, ge=0, le=128)

    @property
    def width(self) -> int:
        """Inputs of the head."""
        return self.rows * self.dim + self.floats


class Architecture(Wire):
    """The dense model: what a server needs to run its kernels."""

    name: ArchitectureName
    embedding_dim: Width
    attention: tuple[Width, ...]  # widths of the hidden layers of DIN's attention MLP
    head: tuple[Width, ...]  # widths of the hidden layers of the output MLP, or the user's tower
    history_length: Width
    # Left out by models without features, whose manifests keep their bytes.
    context: ContextInputs = Field(
        default=ContextInputs(), exclude_if=lambda context: context.width == 0
    )
    # Of Custom alone: the module that was trained, and the SHA-256 of the graph that computes it.
    module: str | None = Field(default=None, exclude_if=lambda module: module is None)
    graph: Sha256 | None = Field(default=None, exclude_if=lambda graph: graph is None)
    # An output neuron each; left out by models of clicks alone.
    tasks: Tasks = Field(default=CLICK, exclude_if=lambda tasks: tasks == CLICK)


class Watermark(Wire):
    """The event times that a version has learned since its parent, in Unix seconds."""

    first: float
    last: float


class Validation(Wire):
    """Progressive validation at the moment of the snapshot."""

    events: int = Field(ge=0)
    auc: float | None = None
    log_loss: float | None = None
    # Of what is served against conversions; None: not learned, or not of both kinds.
    conversion_auc: float | None = Field(default=None, exclude_if=lambda auc: auc is None)


class Chain(Wire):
    """What a reader has to fetch to get here from the base."""

    base_version: int = Field(ge=0)
    length: int = Field(ge=0)  # deltas on top of the base
    bytes: int = Field(ge=0)  # of the serve group, base excluded
    base_bytes: int = Field(default=0, ge=0)  # of the serve group of the base


class Manifest(Wire):
    """One version of one model."""

    format_version: int = FORMAT_VERSION
    min_reader_version: int = FORMAT_VERSION
    model: str
    lineage: Lineage
    version: int = Field(ge=0)
    kind: Literal["base", "delta"]
    parent: VersionRef | None
    chain: Chain
    writer: str  # who published it
    writer_epoch: int = Field(ge=0)
    step: int = Field(ge=0)
    created_at: float  # Unix seconds
    watermark: Watermark | None  # None: nothing learned since the parent
    positions: dict[str, int]  # stream position after the last event learned, by partition
    architecture: Architecture
    transform: Sha256
    dense: dict[Group, ObjectRef]  # safetensors
    # ONNX, of Custom architectures: the weights in `dense` are inputs of it. Deltas name the
    # object of their base.
    graph: ObjectRef | None = Field(default=None, exclude_if=lambda graph: graph is None)
    tables: dict[str, Table]
    # What training remembers of keys without a row, by table and way of admission.
    admission: dict[str, Table] = Field(default_factory=dict)
    validation: Validation
    erasure_seq: int = Field(default=0, ge=0)  # of the ledger: keys erased up to it are not here
    producer: str  # build that wrote it

    def ref(self) -> VersionRef:
        """The reference by which others name this version."""
        return VersionRef(lineage=self.lineage, version=self.version, digest=self.fingerprint())


class Redacted(Manifest):
    """A version as it reads since keys were erased from it; its name stays what it was.

    Its tables' digests speak of the rows without the keys erased up to `erasure_seq`.
    """

    original: Sha256  # of the manifest first written

    def ref(self) -> VersionRef:
        """The reference by which others have named this version all along."""
        return VersionRef(lineage=self.lineage, version=self.version, digest=self.original)


class Commit(Wire):
    """The object whose creation makes a version exist; whoever creates it first has won."""

    digest: Sha256  # of the manifest
    writer: str
    writer_epoch: int = Field(ge=0)


class Channel(Wire):
    """A named pointer to a version, moved by compare-and-swap."""

    target: VersionRef | None  # None: no version yet, though there may be bad ones
    previous: VersionRef | None = None
    reason: str
    actor: str
    moved_at: float
    quarantined: tuple[Sha256, ...] = ()  # manifests that must not be built upon
    retained: tuple[VersionRef, ...] = ()  # that servers hold or may go back to: stay whole
