"""KServe's Python server: `python kserve_app.py --http_port PORT --workers N`, a torch thread each.

Its protocol says where to ask, `/v1/models/ranker:predict`; a model may read any document.
"""

from functools import cache

from kserve import Model, ModelServer
from kserve.protocol.rest.multiprocess.server import RESTServerProcess
from ranker import Ranker, from_environment


@cache
def ranker() -> Ranker:
    """Of this process: workers are spawned, and would get the tables through a pipe otherwise."""
    return from_environment()


class RankerModel(Model):
    """The model as KServe calls it."""

    def __init__(self) -> None:
        super().__init__("ranker")
        self.ready = True

    def predict(self, payload: dict, _headers: dict | None = None) -> dict[str, list]:
        """The best items."""
        return ranker().rank(payload["user_id"], payload["items"], payload["history"], payload["k"])


if __name__ == "__main__":
    # It ends workers that say nothing for 5 s, and importing KServe takes 7 s of processor time
    # where little is cached: on a busy machine it would start workers for ever.
    RESTServerProcess.is_alive.__defaults__ = (120.0,)
    ModelServer(enable_grpc=False, enable_latency_logging=False).start([RankerModel()])
