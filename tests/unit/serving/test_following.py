"""Following a release in a file and in a ConfigMap, against a small API server written by hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
from urllib.parse import parse_qs, urlsplit

import pytest

from millstream_serving.releases import files, kube
from millstream_serving.releases.files import FileRelease
from millstream_serving.releases.following import follower_for, read_release
from millstream_serving.releases.kube import ApiServer, KubeRelease


async def until(condition, seconds=20.0):
    """Let others run until a condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - conditions of many kinds
            await asyncio.sleep(0.005)


class Heard(list):
    """Collects what a follower delivers."""

    async def at_least(self, count):
        await until(lambda: len(self) >= count)
        return list(self)


@contextlib.asynccontextmanager
async def following(follower):
    heard = Heard()
    task = asyncio.create_task(follower.follow(heard.append))
    try:
        yield heard
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(files, "LOOK_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(kube, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(kube, "LONGEST_PAUSE_SECONDS", 0.05)


# A file


async def test_a_file_is_delivered_once_for_each_content(tmp_path):
    path = tmp_path / "release.json"
    path.write_bytes(b"1")
    async with following(FileRelease(path)) as heard:
        await heard.at_least(1)
        path.write_bytes(b"1")
        path.write_bytes(b"2")
        assert await heard.at_least(2) == [b"1", b"2"]


def renamed(path, content):
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)


def written(path, content):
    path.write_bytes(content)


def mounted(path, content):
    """As kubelet changes the files of a ConfigMap: by the link to the folder that they are in."""
    folder = path.parent / f"..{content.decode()}"
    folder.mkdir()
    (folder / path.name).write_bytes(content)
    link = path.parent / "..new"
    link.symlink_to(folder.name)
    link.replace(path.parent / "..data")
    if not path.is_symlink():
        path.symlink_to(f"..data/{path.name}")


@pytest.mark.parametrize("change", [renamed, written, mounted])
async def test_a_change_is_delivered_without_looking_again_and_again(tmp_path, monkeypatch, change):
    monkeypatch.setattr(files, "LOOK_EVERY_SECONDS", 60.0)
    path = tmp_path / "release.json"
    change(path, b"1")
    async with following(FileRelease(path)) as heard:
        for number in (b"2", b"3"):
            await heard.at_least(int(number) - 1)
            change(path, number)
        assert await heard.at_least(3) == [b"1", b"2", b"3"]


async def test_a_folder_made_anew_is_followed_again(tmp_path):
    folder = tmp_path / "release"
    path = folder / "release.json"
    async with following(FileRelease(path)) as heard:
        for number in (b"1", b"2"):
            folder.mkdir()
            path.write_bytes(number)
            await heard.at_least(int(number))
            path.unlink()
            folder.rmdir()


async def test_where_the_kernel_tells_of_no_changes_the_file_is_looked_at(
    tmp_path, monkeypatch, caplog
):
    def refuse():
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(files, "Inotify", refuse)
    path = tmp_path / "release.json"
    path.write_bytes(b"1")
    async with following(FileRelease(path)) as heard:
        await heard.at_least(1)
        renamed(path, b"2")
        assert await heard.at_least(2) == [b"1", b"2"]
    assert "looked at every 0.01 s only" in caplog.text


async def test_a_file_that_is_not_there_yet_is_waited_for_and_said_once(tmp_path, caplog):
    path = tmp_path / "release.json"
    async with following(FileRelease(path)) as heard:
        await asyncio.sleep(0.1)
        path.write_bytes(b"1")
        await heard.at_least(1)
    assert caplog.text.count("cannot be read") == 1


@pytest.mark.parametrize(
    "address", ["", "file:", "kube:", "kube:shop", "kube:/shop", "kube:a/b/c", "s3:bucket/release"]
)
def test_an_address_that_is_neither_is_refused_with_the_forms_that_are(address):
    with pytest.raises(ValueError, match=r"kube:<namespace>/<config map> or file:<path>"):
        follower_for(address)


def test_a_config_map_outside_a_pod_is_refused_with_a_way_out(monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ValueError, match="follow file:<path>"):
        follower_for("kube:shop/shop-release")


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"{", b'{"epoch":-1}', b'{"batches":0}', b'{"stable":7}', b"\xff"]
)
def test_a_release_that_cannot_be_read_is_none_and_logged(document, caplog):
    assert read_release(document) is None
    assert "the last one stays in force" in caplog.text


# A ConfigMap


class FakeApi:
    """Lists and watches one ConfigMap; answers from a script of faults first."""

    def __init__(self):
        self.data: dict[str, str] | None = {"release.json": "1"}
        self.version = 10
        self.requests: list[tuple[str, dict[str, str], dict[str, str]]] = []
        self.faults: list[str] = []
        self.changed = asyncio.Condition()
        self.events: list[dict] = []
        self.connections: set[asyncio.Task] = set()

    def config_map(self):
        meta = {"name": "shop-release", "resourceVersion": str(self.version)}
        return {"metadata": meta} | ({} if self.data is None else {"data": self.data})

    async def set(self, text, kind="MODIFIED"):
        async with self.changed:
            self.version += 1
            self.data = {"release.json": text}
            self.events.append({"type": kind, "object": self.config_map()})
            self.changed.notify_all()

    async def say(self, event):
        async with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    async def answer(self, reader, writer):
        self.connections.add(asyncio.current_task())
        # A cancelled connection is how the fixture hangs up at the end.
        with contextlib.suppress(
            ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError
        ):
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                target = urlsplit(lines[0].split(" ")[1])
                query = {name: values[0] for name, values in parse_qs(target.query).items()}
                headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
                self.requests.append((target.path, query, headers))
                fault = self.faults.pop(0) if self.faults else ""
                if fault == "hang up":
                    break
                if fault:
                    self._whole(writer, fault, b"{}")
                elif "watch" in query:
                    await self._watch(writer)
                    break
                else:
                    listed = {
                        "metadata": {"resourceVersion": str(self.version)},
                        "items": [self.config_map()],
                    }
                    self._whole(writer, "200 OK", json.dumps(listed).encode())
        writer.close()
        # A client that hung up first, or the end of the test, is no fault of this server.
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await writer.wait_closed()

    def _whole(self, writer, status, body):
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)

    async def _watch(self, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            async with self.changed:
                await self.changed.wait_for(lambda: self.events)
                event = self.events.pop(0)
            if event["type"] == "END":
                writer.write(b"0\r\n\r\n")
                return
            line = json.dumps(event).encode() + b"\n"
            writer.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            await writer.drain()

    def watches(self):
        return [query for _, query, _ in self.requests if "watch" in query]

    def lists(self):
        return [query for _, query, _ in self.requests if "watch" not in query]


@pytest.fixture
async def api():
    fake = FakeApi()
    server = await asyncio.start_server(fake.answer, "127.0.0.1", 0)
    fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield fake
    server.close()
    for connection in fake.connections:
        connection.cancel()
    await asyncio.gather(*fake.connections)


def release_at(api, **fields):
    return KubeRelease(ApiServer(api.url, **fields), "shops", "shop-release")


async def test_a_config_map_is_delivered_as_it_is_and_after_each_change(api):
    async with following(release_at(api)) as heard:
        await heard.at_least(1)
        await api.set("2")
        await api.set("3")
        assert await heard.at_least(3) == [b"1", b"2", b"3"]
    assert api.requests[0][0] == "/api/v1/namespaces/shops/configmaps"
    assert all(
        query["fieldSelector"] == "metadata.name=shop-release" for _, query, _ in api.requests
    )
    assert api.watches()[0]["resourceVersion"] == "10"


async def test_a_watch_that_ends_goes_on_from_the_last_version_seen_without_listing(api):
    async with following(release_at(api)) as heard:
        await api.set("2")
        await heard.at_least(2)
        await api.say({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "77"}}})
        await api.say({"type": "END"})
        await until(lambda: len(api.watches()) == 2)
    assert api.watches()[1]["resourceVersion"] == "77"
    assert len(api.lists()) == 1


async def test_a_version_that_is_gone_leads_back_to_a_list(api):
    async with following(release_at(api)) as heard:
        await heard.at_least(1)
        api.data = {"release.json": "2"}
        await api.say({"type": "ERROR", "object": {"code": 410, "message": "too old"}})
        assert await heard.at_least(2) == [b"1", b"2"]
    assert len(api.lists()) == 2


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("hang up", id="a connection that breaks"),
        pytest.param("500 Internal Server Error", id="a server in trouble"),
        pytest.param("403 Forbidden", id="a right that is missing"),
        pytest.param("200 OK", id="an answer that is no list"),
    ],
)
async def test_trouble_is_survived_and_logged(api, fault, caplog):
    api.faults = [fault] * 3
    async with following(release_at(api)) as heard:
        assert await heard.at_least(1) == [b"1"]
    assert caplog.text.count("not being followed") == 3


async def test_a_refused_watch_leads_back_to_a_list(api):
    api.faults = ["", "410 Gone"]
    async with following(release_at(api)) as heard:
        await heard.at_least(2)
        await api.set("2")
        assert (await heard.at_least(3))[-1] == b"2"


async def test_an_api_server_that_is_away_is_tried_again(caplog, unused_tcp_port_factory):
    follower = KubeRelease(ApiServer(f"http://127.0.0.1:{unused_tcp_port_factory()}"), "a", "b")
    async with following(follower):
        await until(lambda: caplog.text.count("not being followed") >= 3)


async def test_the_token_is_read_anew_for_every_call(api, tmp_path):
    """Kubernetes replaces it about every hour."""
    token = tmp_path / "token"
    token.write_text("first\n")
    async with following(release_at(api, token_file=token)):
        await until(lambda: len(api.requests) == 2)
        token.write_text("second\n")
        await api.say({"type": "END"})
        await until(lambda: len(api.requests) == 3)
    sent = [headers["authorization"] for _, _, headers in api.requests]
    assert sent == ["bearer first", "bearer first", "bearer second"]


async def test_a_connection_that_fell_silent_is_given_up(api, monkeypatch, caplog):
    """A watch whose server is gone would otherwise never hear of a rollback."""
    monkeypatch.setattr(kube, "WATCH_SECONDS", 0.1)
    monkeypatch.setattr(kube, "SILENCE_SECONDS", 0.1)
    async with following(release_at(api)):
        await until(lambda: len(api.lists()) >= 2)
    assert "ReadTimeout" in caplog.text


async def test_a_config_map_without_the_document_is_waited_for(api, caplog):
    api.data = None
    async with following(release_at(api)) as heard:
        await until(api.watches)
        await api.set("2")
        assert await heard.at_least(1) == [b"2"]
    assert "no key release.json yet" in caplog.text


async def test_a_config_map_that_is_deleted_and_made_again_is_followed(api):
    async with following(release_at(api)) as heard:
        await heard.at_least(1)
        await api.say({"type": "DELETED", "object": api.config_map()})
        await api.set("2", kind="ADDED")
        assert await heard.at_least(2) == [b"1", b"2"]
