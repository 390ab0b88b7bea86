"""Scoring: kernels over plain arrays, and the immutable versions that they score with."""
