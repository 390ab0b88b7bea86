"""Where events come from. One protocol, one way to read records, two first implementations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from millstream_trainer.sources.movielens import MovielensReplay
from millstream_trainer.sources.synthetic import SyntheticStream

if TYPE_CHECKING:
    from millstream_api.settings import TrainerSettings
    from millstream_trainer.sources.protocol import Source


def open_source(settings: TrainerSettings) -> Source:
    """The source that the settings name, at its beginning.

    Raises:
        ValueError: none or two are named, or the named one cannot be opened.
    """
    match settings.synthetic, settings.movielens:
        case (None, None):
            raise ValueError("the settings name no source: set `synthetic` or `movielens`")
        case (synthetic, None) if synthetic is not None:
            return SyntheticStream(synthetic)
        case (None, movielens) if movielens is not None:
            return MovielensReplay.of_installed_wheel(movielens)
        case _:
            raise ValueError("the settings name two sources: leave one of them out")
