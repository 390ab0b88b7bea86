"""Following the release: where it is read from, and what it means for this replica now."""
