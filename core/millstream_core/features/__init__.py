"""From what a request or an event says to the keys of rows: one code path for both sides."""

from millstream_core.features.transform import PAD, Transform, key_of

__all__ = ["PAD", "Transform", "key_of"]
