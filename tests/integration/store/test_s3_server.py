"""The S3 client against a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from millstream_core.store import AccessDenied, ModelStore, S3ObjectStore, StoreUnavailable, probe
from tests.builders.claims_contract import ClaimsContract
from tests.builders.manifests import make_manifest
from tests.builders.object_store_contract import ObjectStoreContract
from tests.builders.s3_server import S3Server, s3_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration


@pytest.fixture
def server(tmp_path: Path) -> Iterator[S3Server]:
    with s3_server(tmp_path) as running:
        yield running


class TestS3ObjectStore(ObjectStoreContract):
    @pytest.fixture
    def objects(self, server: S3Server) -> S3ObjectStore:
        return server.objects()


class TestClaims(ClaimsContract):
    @pytest.fixture
    def objects(self, server: S3Server) -> S3ObjectStore:
        return server.objects()


def test_the_probe_approves(server: S3Server) -> None:
    health = probe(ModelStore(server.objects(), "runs", "shop"), "me")
    assert health.ok, health.message


def test_wrong_credentials_are_denied_not_unavailable(server: S3Server) -> None:
    stranger = S3ObjectStore(server.settings, access_key="nobody", secret_key="knows")
    with pytest.raises(AccessDenied, match="credentials"):
        stranger.get("anything")
    assert probe(ModelStore(stranger, "", "shop"), "me").reason == "AccessDenied"


def test_a_missing_bucket_says_create_it(server: S3Server) -> None:
    elsewhere = server.settings.changed(bucket="nowhere")
    objects = S3ObjectStore(elsewhere, access_key=server.access_key, secret_key=server.secret_key)
    with pytest.raises(AccessDenied, match="create it"):
        objects.put("k", b"1")


def test_versions_survive_a_server_that_is_killed(server: S3Server, tmp_path: Path) -> None:
    ref = ModelStore(server.objects(), "", "shop").commit(make_manifest(version=1))
    port = int(str(server.settings.endpoint).rpartition(":")[2])
    server.process.kill()
    server.process.wait(timeout=10)
    with pytest.raises(StoreUnavailable):
        ModelStore(server.objects(), "", "shop").commits(ref.lineage)
    with s3_server(tmp_path, port) as again:
        assert ModelStore(again.objects(), "", "shop").resolve(ref.lineage, 1) == ref
