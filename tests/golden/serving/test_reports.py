"""What the operator and Prometheus read, byte for byte; WRITE_GOLDEN=1 rewrites it."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import orjson
import pytest

from millstream_api.release import Release
from millstream_api.reports import StoreHealth, VersionState
from millstream_api.settings import ServerSettings, StoreSettings
from millstream_serving.engine.agreement import Agreement
from millstream_serving.engine.best import Best
from millstream_serving.http.metrics import Metrics
from millstream_serving.loading.checks import Finding
from millstream_serving.loading.loader import Loaded
from millstream_serving.ranking.answers import Asked, Outcome
from millstream_serving.replica import Replica
from tests.builders.manifests import make_manifest
from tests.builders.serving import make_ref

HERE = Path(__file__).parent
V1, V2, V3, V4 = (make_ref(number) for number in range(1, 5))


def held(ref, last, precision="Float32", agreement=None):
    manifest = make_manifest(version=ref.version)
    return SimpleNamespace(
        ref=ref,
        manifest=manifest.changed(watermark={"first": last - 10, "last": last}),
        precision=precision,
        agreement=agreement,
    )


@pytest.fixture
def replica():
    """Mid-rollout: some traffic on stable and candidate, one version refused, one loading."""
    ticks = iter(np.arange(0, 10, 0.001))
    settings = ServerSettings(
        model="shop", store=StoreSettings(bucket="b"), release="file:/r", shadow_requests=0
    )
    made = Replica(
        "shop-server-0",
        settings,
        features=None,
        want=lambda _: None,
        loop=None,
        stopwatch=lambda: float(next(ticks)),
        clock=lambda: 150.0,
    )
    release = Release(
        epoch=7, salt="uid/2", stable=V1, candidate=V2, advanced=3, hold=(V3, V4), mode="Gray"
    )
    made.release_read(release.canonical())
    refused = VersionState(ref=V3, state="Refused", reason="NonFiniteRows", message="2 of 9 rows")
    made.has_loaded(
        Loaded(
            versions={
                V1.digest: held(V1, 100.0, "BFloat16", Agreement(32, 0.996875, 0.0012)),
                V2.digest: held(V2, 130.0),
            },
            refused={V3.digest: refused},
            store=StoreHealth(ok=False, reason="Unreachable", message="nobody answers"),
            bytes=123_456,
            seconds=0.25,
            troubles={V4.digest: Finding("Unreachable", "nobody answers")},
        )
    )
    best = Best([0, 1], [0.25, 0.75], 1.0, 0.25**2 + 0.75**2)
    asked = Asked(None, np.empty(0, np.int64), np.empty(0, np.int64))
    for version, role, seconds, status in (
        (V1, "stable", 0.002, 200),
        (V1, "stable", 0.004, 200),
        (V2, "candidate", 0.003, 200),
        (V2, "candidate", 0.2, 500),
    ):
        made.tallies.count(role, version.digest, status, seconds)
        made.tallies.date(role, version.digest, 90.0)
        made.tallies.weigh(Outcome(version, [1, 2], best, (), asked))
    made.tallies.count("none", "", 400, 0.0001)
    made.tallies.count_unkeyed()
    return made


def compare(name, got):
    path = HERE / name
    if os.environ.get("WRITE_GOLDEN"):
        path.write_text(got)
    assert got == path.read_text()


def test_the_report(replica):
    document = orjson.loads(replica.report().canonical())
    compare("release.json", orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")


def test_the_metrics(replica):
    text = Metrics(replica, clock=lambda: 200.0, dropped={"log": lambda: 3}).text().decode()
    ours = [line for line in text.splitlines() if re.match(r"(# \w+ )?millstream_", line)]
    compare("metrics.txt", "\n".join(ours) + "\n")


def test_two_versions_of_one_number_are_one_series(replica):
    """Lineages count anew, and of a series that is there twice Prometheus drops one."""
    namesake = make_ref(1, lineage="another")
    versions = replica.loaded.versions | {namesake.digest: held(namesake, 100.0)}
    replica.has_loaded(replace(replica.loaded, versions=versions, seconds=None))
    replica.tallies.count("stable", namesake.digest, 200, 0.002)
    replica.tallies.date("stable", namesake.digest, 90.0)
    text = Metrics(replica, clock=lambda: 200.0, dropped={}).text().decode()
    series = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(series) == len(set(series))
    assert 'requests_total{code="200",role="stable",version="1"} 3.0' in text
    assert 'request_duration_seconds_count{role="stable",version="1"} 3.0' in text


@pytest.mark.parametrize("share", [0.5, 0.99])
@pytest.mark.parametrize("typical", [0.0015, 0.005, 0.015])
def test_a_quantile_from_the_buckets_is_right_within_a_tenth(replica, typical, share):
    """As histogram_quantile makes it, for answers between 1 and 50 ms."""
    spent = typical * np.random.default_rng(0).lognormal(0, 0.4, 5000)
    for seconds in spent:
        replica.tallies.count("previous", V2.digest, 200, float(seconds))
    text = Metrics(replica, clock=lambda: 200.0, dropped={}).text().decode()
    pattern = r'request_duration_seconds_bucket{le="([^+"]+)",role="previous",version="2"} (\S+)'
    bounds, counts = np.array(re.findall(pattern, text), float).T
    found = np.interp(share * len(spent), counts, bounds)
    assert found == pytest.approx(np.quantile(spent, share), rel=0.1)
