"""Benchmarks: both sides in the same run, told as ratios."""
