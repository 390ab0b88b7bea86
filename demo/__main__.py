"""`python -m demo`: exit code 0 only if everything happened and every figure met its bar."""

from __future__ import annotations

import asyncio
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
from rich.console import Console

from demo import installation as steps
from demo.commands import ROOT, InstallationError
from demo.frozen import frozen_scores
from demo.measures import compare, delays
from demo.observer import Observer
from demo.report import Row, as_table, at_least, at_most, write_report
from demo.story import NAME, Story, StoryError
from demo.view import View
from millstream_core.store import ModelStore, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo.story import Chronicle

EXAMPLES: Final = ("rectraining.yaml", "recserving.yaml")


def main() -> int:
    """Run the demo and say in the exit code how it went."""
    console = Console(width=None if sys.stdout.isatty() else 200)
    began = time.time()
    try:
        installation = install(console)
        store = ModelStore(installation.objects(), "", NAME)
        observer = Observer(installation.kubeconfig, steps.NAMESPACE)
        with View(console) as view:
            story = Story(installation, observer, store, view)
            asyncio.run(story.tell())
    except (InstallationError, StoryError, StoreError) as error:
        console.print(f"[red]The demo stopped:[/] {error}")
        return 1
    rows = summarise(story.told, store)
    rows.append(Row(what="whole run", value=time.time() - began, unit="s"))
    write_report(ROOT / "build" / "reports" / "demo.json", "demo", rows)
    console.print(installation.kubectl("-n", steps.NAMESPACE, "get", "rectrainings,recservings"))
    console.print(as_table(rows))
    return 0 if all(row.holds is not False for row in rows) else 1


def install(console: Console) -> steps.Installation:
    """Everything up to `kubectl apply` of the examples, each step named before it begins."""
    console.print("[bold]cluster[/]: starting it, or finding it running")
    installation = steps.bring_up_cluster()
    here = (installation, steps.NAMESPACE)
    named: list[tuple[str, Callable[[], None]]] = [
        ("images: building and loading the three programs", steps.load_images),
        (
            "clean slate: removing an earlier run",
            partial(steps.start_afresh, installation, steps.NAMESPACE, NAME),
        ),
        ("helm install charts/millstream", partial(steps.install_chart, installation)),
        (
            "kubectl apply -f examples/",
            partial(steps.apply_examples, *here, *EXAMPLES),
        ),
    ]
    for name, step in named:
        console.print(f"[bold]{name}[/]")
        began = time.time()
        step()
        console.print(f"  done in {time.time() - began:.0f} s")
    return installation


def summarise(told: Chronicle, store: ModelStore) -> list[Row]:
    """The figures of this run, each against its bar."""
    # A rollback brings older versions back on purpose.
    log = told.log if told.rollback is None else told.log.before(told.rollback[1])
    measured = delays(log, told.versions)
    rows = [
        _percentile("event to first users, p50", measured.first_users, 50, None),
        _percentile("event to first users, p95", measured.first_users, 95, 60),
        _percentile("event to all users, p50", measured.all_users, 50, None),
        _percentile("event to all users, p95", measured.all_users, 95, 90),
        *_quality(told, store),
    ]
    for fault in told.faults:
        rows.append(
            at_most(
                f"{fault.name}: publish to verdict", fault.verdict_at - fault.published_at, 30, "s"
            )
        )
        batches = {
            answer.batch for answer in told.log.answers if answer.version == fault.ref.version
        }
        last = told.log.last_of(fault.ref.version)
        gone = 0.0 if last is None else max(last - fault.verdict_at, 0.0)
        rows.append(at_most(f"{fault.name}: batches that saw it", len(batches), 1, "batches"))
        rows.append(at_most(f"{fault.name}: verdict to last bad answer", gone, 10, "s"))
    if told.rollback is not None:
        version, asked = told.rollback
        last = told.log.last_of(version) if version is not None else None
        rows.append(
            at_most(
                "rollback by annotation to last answer of the newer version",
                None if last is None else _last_before_pin_ends(told, version, asked) - asked,
                10,
                "s",
            )
        )
    rows += [
        at_least("requests", len(told.log.answers), 1000, "requests"),
        at_most("failed requests", len(told.log.failures), 0, "requests"),
        at_most("server restarts", told.server_restarts, 0, "restarts"),
        at_most("server pods replaced", len(told.servers) - 1, 0, "times"),
    ]
    return rows


def _last_before_pin_ends(told: Chronicle, version: int, asked: float) -> float:
    """When the version rolled back from was last answered while the rollback was in force."""
    answers = [a.received for a in told.log.answers if a.version == version]
    return max((received for received in answers if received <= asked + 5), default=asked)


def _quality(told: Chronicle, store: ModelStore) -> list[Row]:
    assert told.first_stable is not None
    asked = [
        answer
        for answer in told.log.answers
        if answer.score is not None
        and told.first_stable_at + 15 < answer.received < told.suspended_at
    ]
    fresh = np.array([answer.score for answer in asked], np.float64)
    labels = np.array([answer.question.label for answer in asked], np.float64)
    frozen = frozen_scores(store, told.first_stable, [answer.question for answer in asked])
    found = compare(fresh, frozen, labels)
    if found is None:
        return [at_least("AUC of the fresh model", None, 0.5, "")]
    margin = found.fresh - found.frozen
    return [
        Row(what="AUC of the model frozen at the start", value=found.frozen, unit=""),
        Row(
            what="AUC of what users got, same events",
            value=found.fresh,
            unit="",
            against="frozen",
            ratio=found.fresh / found.frozen,
        ),
        Row(what="events compared", value=found.events, unit="events"),
        Row(
            what="AUC fresh above frozen",
            value=margin,
            unit="",
            bar=f"> {2 * found.standard_error:.4f} (2 standard errors)",
            holds=margin > 2 * found.standard_error,
        ),
    ]


def _percentile(what: str, values: np.ndarray, percent: float, bar: float | None) -> Row:
    value = float(np.percentile(values, percent)) if len(values) else None
    return Row(what=what, value=value, unit="s") if bar is None else at_most(what, value, bar, "s")


if __name__ == "__main__":
    sys.exit(main())
