"""From a reference in the release to a version in memory that may answer, or a reason why not."""
