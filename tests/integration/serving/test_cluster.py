"""Following a release on a real API server, with no more rights than a replica has."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from millstream_api.names import RELEASE_KEY
from millstream_serving.releases.kube import ApiServer, KubeRelease

pytestmark = pytest.mark.integration

NAME = "shop-release"


@pytest.fixture
def account(kube, namespace, tmp_path):
    """The account that the operator makes for a RecServing: one ConfigMap, to read."""
    meta = {"name": "shop", "namespace": namespace}
    group = "rbac.authorization.k8s.io"
    kube.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})
    rule = {
        "apiGroups": [""],
        "resources": ["configmaps"],
        "resourceNames": [NAME],
        "verbs": ["get", "list", "watch"],
    }
    kube.apply({"apiVersion": f"{group}/v1", "kind": "Role", "metadata": meta, "rules": [rule]})
    kube.apply(
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "shop"},
            "subjects": [{"kind": "ServiceAccount", "name": "shop", "namespace": namespace}],
        }
    )
    token = kube.request(
        "POST",
        f"/api/v1/namespaces/{namespace}/serviceaccounts/shop/token",
        json={"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
    )["status"]["token"]
    path = tmp_path / "token"
    path.write_text(token)
    return ApiServer(kube.access.server, path, kube.access.ca_file)


def write(kube, namespace, text):
    kube.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": NAME, "namespace": namespace},
            "data": {RELEASE_KEY: text},
        }
    )


async def test_a_release_is_followed_from_before_it_exists_through_deletion(
    kube, namespace, account
):
    heard = []
    task = asyncio.create_task(KubeRelease(account, namespace, NAME).follow(heard.append))

    async def heard_last(text):
        async with asyncio.timeout(15):
            while not heard or heard[-1] != text.encode():
                assert not task.done()
                await asyncio.sleep(0.01)

    try:
        await asyncio.sleep(0.5)
        await asyncio.to_thread(write, kube, namespace, "1")
        await heard_last("1")
        for text in ("2", "3"):
            await asyncio.to_thread(write, kube, namespace, text)
            await heard_last(text)
        await asyncio.to_thread(kube.delete, "ConfigMap", namespace, NAME)
        await asyncio.to_thread(write, kube, namespace, "4")
        await heard_last("4")
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert heard == [b"1", b"2", b"3", b"4"]


async def test_a_watch_is_ended_by_the_server_and_taken_up_again(
    kube, namespace, account, monkeypatch
):
    monkeypatch.setattr("millstream_serving.releases.kube.WATCH_SECONDS", 1)
    heard = []
    write(kube, namespace, "0")
    task = asyncio.create_task(KubeRelease(account, namespace, NAME).follow(heard.append))
    try:
        for text in ("1", "2", "3"):
            await asyncio.sleep(1.2)
            await asyncio.to_thread(write, kube, namespace, text)
        async with asyncio.timeout(15):
            while heard[-1:] != [b"3"]:  # noqa: ASYNC110 - heard is a list
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert heard == [b"0", b"1", b"2", b"3"]
