"""Reduced precision in a whole server: from the settings to the score."""

from __future__ import annotations

import pytest

from millstream_serving.engine.reduced import UNIT
from tests.builders.objects import MemoryObjects
from tests.builders.serving import Publisher, make_architecture, random_rows

ITEMS = list(range(1000, 1040))


async def test_scores_are_float32_where_nothing_else_is_asked_for(start):
    running = await start()
    ref = running.publisher.publish(random_rows(running.publisher, 40, 200))
    await running.in_force(stable=ref)
    report = await running.state(ref)
    assert [version.precision for version in report.versions] == ["Float32"]
    assert "precision_shared_ratio{" not in (await running.client.get("/metrics")).text


@pytest.mark.skipif(not UNIT.is_available(), reason="this processor has no bfloat16")
async def test_a_version_that_ranks_alike_is_scored_in_bfloat16_and_says_so(start):
    publisher = Publisher(
        MemoryObjects(),
        architecture=make_architecture(embedding_dim=32, attention=(32, 16), history_length=20),
    )
    ref = publisher.publish(random_rows(publisher, 40, 200))
    found = {}
    for precision in ("Float32", "BFloat16"):
        running = await start(publisher, precision=precision)
        await running.in_force(stable=ref)
        await running.reports(
            lambda report, wanted=precision: any(
                version.state == "Ready" and version.precision == wanted
                for version in report.versions
            )
        )
        body = (await running.rank(user_id=3, items=ITEMS)).json()
        found[precision] = {each["id"]: each["score"] for each in body["items"]}
    assert found["BFloat16"] == pytest.approx(found["Float32"], abs=0.01)
    assert found["BFloat16"] != found["Float32"]
    metrics = (await running.client.get("/metrics")).text
    assert f'millstream_serving_precision_shared_ratio{{version="{ref}"}}' in metrics
