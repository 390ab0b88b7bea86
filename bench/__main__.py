"""`python -m bench [data | http | models | served | serving | tiers | ways]`: costs and bars.

    data     a step of training, checkpoints, a server's versions; at 1e6 and at 1e7 rows
    http     libraries that the server could stand on
    models   the model time of a request, by architecture
    served   rows in fewer bytes
    serving  requests, beside other servers
    tiers    rows beyond a memory budget
    ways     catching up with a model

All of them where none is named. Writes `build/reports/bench-<suite>.json`. Absolute times are those
of a machine that may be busy; ratios are of two sides measured in turns.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console

from bench.checkpoints import checkpoint_rows
from bench.http.suite import http_rows
from bench.lookups import lookup_rows
from bench.models import model_rows
from bench.served import served_forms
from bench.serving.suite import serving_rows
from bench.tables import table_rows
from bench.tiers import tier_rows
from bench.versions import version_rows
from bench.ways import way_rows
from demo.report import as_table, write_report
from devcluster.commands import DevclusterError

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo.report import Row

REPORTS: Final = Path(__file__).resolve().parents[1] / "build" / "reports"
COUNTS: Final = (1_000_000, 10_000_000)


def data_rows() -> list[Row]:
    """What rows cost where they are trained, kept and served."""
    rows = [*table_rows(), *version_rows()]
    for count in COUNTS:
        rows += [*lookup_rows(count), *checkpoint_rows(count)]
    return rows


SUITES: Final[dict[str, Callable[[], list[Row]]]] = {
    "data": data_rows,
    "http": http_rows,
    "models": model_rows,
    "served": served_forms,
    "serving": serving_rows,
    "tiers": tier_rows,
    "ways": way_rows,
}


def main() -> int:
    """Run suites; exit code 0 only if every bar is met, 2 where a tool is missing."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure against bars.")
    parser.add_argument("suites", nargs="*", choices=[[], *SUITES], help="all where none is named")
    met = True
    for name in parser.parse_args().suites or SUITES:
        try:
            rows = SUITES[name]()
        except DevclusterError as missing:
            print(missing, file=sys.stderr)
            return 2
        write_report(REPORTS / f"bench-{name}.json", f"bench-{name}", rows)
        Console(width=None if sys.stdout.isatty() else 160).print(as_table(rows))
        met = met and all(row.holds is not False for row in rows)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
