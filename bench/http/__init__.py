"""HTTP servers that answer from Python, at the raw level: what a library costs before any model."""
