"""From what a request or an event says to the keys of rows: one code path for both sides.

ids ──key_of──► keys
context ──read_context──► values ──ContextFeatures.encode──► keys of the table `context`, floats
"""

from millstream_core.features.context import EMPTY, BadContext, Context, read_context
from millstream_core.features.encoding import ContextFeatures, Encoded
from millstream_core.features.transform import PAD, Transform, key_of

__all__ = [
    "EMPTY",
    "PAD",
    "BadContext",
    "Context",
    "ContextFeatures",
    "Encoded",
    "Transform",
    "key_of",
    "read_context",
]
