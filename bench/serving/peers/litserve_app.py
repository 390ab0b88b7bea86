"""LitServe: `python litserve_app.py PORT WORKERS`, one torch thread each, as many HTTP processes.

No batching: it made LitServe slower with this model (305 against 348 requests a second).
"""

import sys

import litserve as ls
from ranker import Ranker, from_environment


class RankerAPI(ls.LitAPI):
    """What each worker does."""

    ranker: Ranker

    def setup(self, device: str) -> None:
        """Load the model, on the only device there is."""
        assert device == "cpu"
        self.ranker = from_environment()

    def decode_request(self, request: dict) -> dict:
        """The question, as it came."""
        return request

    def predict(self, x: dict) -> dict[str, list]:
        """The best items."""
        return self.ranker.rank(x["user_id"], x["items"], x["history"], x["k"])

    def encode_response(self, output: dict) -> dict:
        """The answer, as it is."""
        return output


if __name__ == "__main__":
    port, workers = map(int, sys.argv[1:])
    server = ls.LitServer(
        RankerAPI(api_path="/v1/rank"),
        accelerator="cpu",
        devices=1,
        workers_per_device=workers,
        healthcheck_path="/healthz",
    )
    server.run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False)
