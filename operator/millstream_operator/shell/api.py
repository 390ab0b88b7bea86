"""Our own client of the Kubernetes API: JSON over aiohttp, server-side apply, time limits.

Few verbs are needed, and all of them often: reading raw JSON costs a tenth of decoding it into
the official library's models. Nothing is retried here; the queue tries again with back-off,
from a fresh look at the world.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp
import orjson

from millstream_operator.shell.errors import ApiUnavailable, Forbidden, error_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from millstream_operator.shell.access import AccessCache
    from millstream_operator.shell.kinds import Body, KindInfo

TIMEOUT: Final = aiohttp.ClientTimeout(total=15, connect=5)
PAGE: Final = 500
FIELD_MANAGER: Final = "millstream-operator"
STATUS_MANAGER: Final = "millstream-operator-status"
_APPLY: Final = "application/apply-patch+yaml"  # JSON is YAML


class ApiClient:
    """Belongs to one event loop; use as an async context manager."""

    def __init__(self, access: AccessCache, user_agent: str) -> None:
        """Nothing is sent yet."""
        self._access = access
        self._agent = user_agent
        self.fence: Callable[[], None] | None = None  # raises where we may not write any more
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._access.current().tls(), limit=32)
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=TIMEOUT, headers={"User-Agent": self._agent}
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, kind: KindInfo, namespace: str, name: str) -> Body:
        """One object; raises NotFound."""
        return await self.request("GET", kind.path(namespace, name))

    async def list(
        self, kind: KindInfo, namespace: str | None, selector: str = ""
    ) -> AsyncIterator[Body]:
        """All objects of a kind, page by page.

        Args:
            kind: which.
            namespace: where; None for all namespaces.
            selector: label selector.
        """
        query = {"limit": str(PAGE)}
        if selector:
            query["labelSelector"] = selector
        while True:
            page = await self.request("GET", kind.path(namespace), query=query)
            for item in page["items"]:
                # A list leaves out what all its items share.
                yield {"apiVersion": kind.api_version, "kind": kind.kind, **item}
            token = page["metadata"].get("continue")
            if not token:
                return
            query["continue"] = token

    async def apply(
        self, kind: KindInfo, body: Body, manager: str = FIELD_MANAGER, subresource: str = ""
    ) -> Body:
        """Server-side apply: the fields of `body` are ours, all others stay as they are.

        Raises:
            Conflict: `body` names a uid or resourceVersion that the object no longer has.
        """
        self._fenced()
        meta = body["metadata"]
        return await self.request(
            "PATCH",
            kind.path(meta["namespace"], meta["name"], subresource),
            query={"fieldManager": manager, "force": "true"},
            body=body,
            content_type=_APPLY,
        )

    async def create(self, kind: KindInfo, body: Body) -> Body:
        """Create an object; raises Conflict where there is one of the name."""
        return await self.request("POST", kind.path(body["metadata"]["namespace"]), body=body)

    async def replace(self, kind: KindInfo, body: Body) -> Body:
        """Replace an object whose resourceVersion is still that of `body`; raises Conflict."""
        meta = body["metadata"]
        return await self.request("PUT", kind.path(meta["namespace"], meta["name"]), body=body)

    async def delete(self, kind: KindInfo, namespace: str, name: str, uid: str) -> None:
        """Delete exactly this object; raises Conflict where the name is another's by now."""
        self._fenced()
        body = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        await self.request("DELETE", kind.path(namespace, name), body=body)

    def _fenced(self) -> None:
        if self.fence is not None:
            self.fence()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Body | None = None,
        content_type: str = "application/json",
    ) -> Body:
        """One request and its JSON answer; raises ApiError."""
        assert self._session is not None, "use `async with`"
        access = self._access.current()
        data = None if body is None else orjson.dumps(body)
        headers = {**access.headers, "Content-Type": content_type, "Accept": "application/json"}
        url = f"{access.server}{path}"
        try:
            async with self._session.request(
                method, url, params=query, data=data, headers=headers
            ) as answer:
                raw = await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            told = str(error) or type(error).__name__
            raise ApiUnavailable(f"{method} {path}: no answer ({told})") from error
        parsed = _parsed(raw)
        if status < 400:
            return parsed
        failure = error_of(status, str(parsed.get("message") or f"{method} {path}: {status}"))
        if isinstance(failure, Forbidden) and status == 401:
            self._access.refresh()
        raise failure


def _parsed(raw: bytes) -> dict[str, Any]:
    """The answer as an object; what is not JSON (a proxy's page) becomes a message."""
    try:
        parsed = orjson.loads(raw or b"{}")
    except ValueError:
        return {"message": raw[:200].decode(errors="replace")}
    return parsed if isinstance(parsed, dict) else {"message": str(parsed)[:200]}
