"""Where the history of a user comes from: a seam, and the implementation that needs no service.

The history that travels with the version is as old as the version, and it is part of it: a
rollback takes the features back together with the weights that were trained on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from millstream_serving.engine.versions import ModelVersion


class FeatureStore(Protocol):
    """Answers from any scoring thread, and quickly: a request waits for it."""

    def history(self, version: ModelVersion, user: int) -> NDArray[np.int64]:
        """Keys of the items that this user clicked, oldest first, int64[any].

        Args:
            version: the one that the request is pinned to.
            user: key of the user; an unknown one has an empty history.
        """


class VersionedHistory:
    """The history table of the version that answers."""

    def history(self, version: ModelVersion, user: int) -> NDArray[np.int64]:
        """See FeatureStore."""
        return version.history_of(user)
