"""Golden events: what happened last before a version, and whether it was a click.

    trainer ── the last events learned ──► beside the dense weights of a version
    server  ── those of *stable* ──► scored by stable and by the candidate ──► AUC of both

They are stable's, never the candidate's own: events that taught a candidate something wrong would
vouch for it. Both versions have learned them, so neither is at an advantage.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from millstream_core.features import PAD

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Keys = NDArray[np.int64]

KEPT: Final = 1000  # 17 kB of a version; AUCs of two versions differ by chance by about 0.01
USERS: Final = "golden.users"
ITEMS: Final = "golden.items"
CLICKS: Final = "golden.clicks"
LABELLED: Final = (USERS, ITEMS, CLICKS)  # the tensors' names in a version


@dataclass(frozen=True, eq=False)
class GoldenEvents:
    """At most KEPT events, oldest first."""

    users: Keys = field(default_factory=lambda: np.empty(0, np.int64))  # [n]
    items: Keys = field(default_factory=lambda: np.empty(0, np.int64))  # [n]
    clicks: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))  # [n] 0 or 1

    def __len__(self) -> int:
        return len(self.users)

    @classmethod
    def of(cls, tensors: Mapping[str, NDArray[Any]]) -> GoldenEvents:
        """Those beside these dense weights; none in versions of before there were any.

        Raises:
            ValueError: they are not lists of this form.
        """
        found = [tensors[name] for name in LABELLED if name in tensors]
        if not found:
            return cls()
        dtypes = [each.dtype for each in found]
        if dtypes != [np.int64, np.int64, np.uint8] or any(each.ndim != 1 for each in found):
            raise ValueError(f"{', '.join(LABELLED)} must be lists of int64, int64 and uint8")
        if len({len(each) for each in found}) > 1 or len(found[0]) > KEPT:
            raise ValueError(f"{', '.join(LABELLED)} must be equally long, at most {KEPT}")
        return cls(*found)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """What `of` reads."""
        return dict(zip(LABELLED, (self.users, self.items, self.clicks), strict=True))

    def followed_by(self, users: Keys, items: Keys, clicks: NDArray[np.bool_]) -> GoldenEvents:
        """The newest of these and of those; events without a user or an item are left out."""
        is_named = (users != PAD) & (items != PAD)
        return GoldenEvents(
            np.concatenate([self.users, users[is_named]])[-KEPT:],
            np.concatenate([self.items, items[is_named]])[-KEPT:],
            np.concatenate([self.clicks, clicks[is_named].astype(np.uint8)])[-KEPT:],
        )

    def without(self, is_erased: Callable[[str, Keys], NDArray[np.bool_]]) -> GoldenEvents:
        """Without events of users and items of which this is true, asked by subject."""
        kept = ~(is_erased("user", self.users) | is_erased("item", self.items))
        return GoldenEvents(self.users[kept], self.items[kept], self.clicks[kept])
