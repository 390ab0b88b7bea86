"""Reading custom resources, and the fence around their statuses."""

from __future__ import annotations

from typing import Any

import pytest

from millstream_api.recserving import RecServingSpec, RecServingStatus
from millstream_operator.shell.cache import Key, ObjectCache
from millstream_operator.shell.errors import Conflict, NotFound
from millstream_operator.shell.parents import InvalidObject, StatusWriter, read_resource
from tests.builders.fake_api import FakeApi
from tests.builders.resources import serving_document

KEY = Key("RecServing", "default", "shop")


def make_body(**spec: Any) -> dict[str, Any]:
    body = serving_document(**spec)
    body["metadata"] |= {
        "uid": "u1",
        "resourceVersion": "1",
        "generation": 3,
        "creationTimestamp": "2026-01-02T03:04:05Z",
    }
    return body


def test_an_object_is_read_with_what_it_stands_on():
    found = read_resource(KEY, make_body(replicas=4), RecServingSpec, RecServingStatus)
    assert (found.spec.replicas, found.generation, found.created) == (4, 3, 1_767_323_045.0)
    assert found.status == RecServingStatus()
    assert not found.paused


@pytest.mark.parametrize(
    ("value", "paused"), [("true", True), ("True", True), ("false", False), ("", False)]
)
def test_only_true_pauses(value: str, paused: bool):
    body = make_body()
    body["metadata"]["annotations"] = {"millstream.dev/pause": value}
    assert read_resource(KEY, body, RecServingSpec, RecServingStatus).paused is paused


def test_an_object_that_breaks_a_rule_names_the_field():
    body = make_body(versionPolicy={"pin": "seven"})
    with pytest.raises(InvalidObject, match=r"spec\.versionPolicy\.pin: "):
        read_resource(KEY, body, RecServingSpec, RecServingStatus)


def test_a_status_that_cannot_be_read_is_as_if_there_were_none():
    body = make_body() | {"status": {"phase": "Dancing"}}
    assert read_resource(KEY, body, RecServingSpec, RecServingStatus).status == RecServingStatus()


class TestWriting:
    @pytest.fixture
    def api(self) -> FakeApi:
        return FakeApi()

    @pytest.fixture
    def body(self, api: FakeApi) -> dict[str, Any]:
        return api.seed(serving_document())

    @pytest.fixture
    def writer(self, api: FakeApi) -> StatusWriter:
        return StatusWriter(api, ObjectCache())

    after = RecServingStatus(phase="Steady", stable_version=2)

    async def test_the_same_is_not_written(self, writer, api, body):
        assert not await writer.write(KEY, body, self.after, self.after)
        assert api.writes() == []

    async def test_a_difference_is_written_once(self, writer, api, body):
        assert await writer.write(KEY, body, RecServingStatus(), self.after)
        stored = api.objects["RecServing", "default", "shop"]
        assert stored["status"]["stableVersion"] == 2

    async def test_a_decision_on_an_old_status_is_refused(self, writer, api, body):
        api.seed(body | {"status": {"phase": "Gray", "stableVersion": 9}})
        with pytest.raises(Conflict):
            await writer.write(KEY, body, RecServingStatus(), self.after)
        assert api.objects["RecServing", "default", "shop"]["status"]["stableVersion"] == 9

    async def test_an_edit_of_the_rest_does_not_keep_it_from_being_written(self, writer, api, body):
        edited = {**body, "metadata": {**body["metadata"], "annotations": {"tick": "1"}}}
        api.seed(edited)
        assert await writer.write(KEY, body, RecServingStatus(), self.after)
        stored = api.objects["RecServing", "default", "shop"]
        assert stored["status"]["stableVersion"] == 2

    async def test_another_object_of_the_name_is_not_written(self, writer, api, body):
        del api.objects["RecServing", "default", "shop"]
        api.seed(serving_document())
        with pytest.raises(Conflict):
            await writer.write(KEY, body, RecServingStatus(), self.after)

    async def test_one_that_is_gone_is_said_to_be(self, writer, api, body):
        del api.objects["RecServing", "default", "shop"]
        with pytest.raises(NotFound):
            await writer.write(KEY, body, RecServingStatus(), self.after)
