"""Numbers that move all the time, said so coarsely that a status does not tick.

A status write per second and object would keep etcd busy to say nothing; `/metrics` has the
exact figures. A value leaves its band only when it is clearly outside, so one that rests on a
border does not write either.
"""

from __future__ import annotations

from typing import Final

UNKNOWN: Final = "-"
_LAGS: Final = ((1.0, "<1s"), (5.0, "<5s"), (15.0, "<15s"), (60.0, "<1m"), (300.0, "<5m"))
_LAGS_LONG: Final = ((1800.0, "<30m"), (7200.0, "<2h"), (86_400.0, "<1d"))
_MARGIN: Final = 1.2  # a lag this far beyond a border has left the band
_STEP: Final = 10  # percent


def lag_band(seconds: float | None, before: str) -> str:
    """A lag as `<15s`.

    Args:
        seconds: the lag; None where it is not known.
        before: what was said last.
    """
    if seconds is None:
        return UNKNOWN
    bands = (*_LAGS, *_LAGS_LONG)
    lower = 0.0
    for upper, name in bands:
        if name == before and lower / _MARGIN <= seconds < upper * _MARGIN:
            return before
        lower = upper
    return next((name for upper, name in bands if seconds < upper), ">1d")


def utilization_band(ratio: float | None, before: str) -> str:
    """A share of the time as `60%`, to the nearest ten.

    Args:
        ratio: between 0 and 1; None where it is not known.
        before: what was said last.
    """
    if ratio is None:
        return UNKNOWN
    percent = min(100.0, max(0.0, ratio * 100))
    if before.endswith("%") and abs(percent - int(before[:-1])) < 0.8 * _STEP:
        return before
    return f"{round(percent / _STEP) * _STEP}%"
