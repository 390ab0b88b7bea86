"""Everything that touches the world: the API server, pods, the store, clocks and threads."""
