"""What a server tells beside its answers and metrics: traces, a log of sampled requests."""
