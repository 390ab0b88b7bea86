"""The batch of a user is the same for everybody: other languages test against this file."""

import json
import os
from pathlib import Path

from millstream_api.release import batch_of

VECTORS = Path(__file__).parents[3] / "crds" / "batch-vectors.json"
SALTS = ["", "s", "3f0c9a5e-6f3c-4d0e-9c65-0b1c7f1d2a3b:17", "Ω"]
USERS = ["0", "1", "42", "9223372036854775807", "-1", "user-7", "ünïcode", "", " ", "a" * 100]
BATCHES = [1, 3, 10, 100]


def vectors() -> list[dict[str, str | int]]:
    return [
        {"salt": salt, "user_id": user, "batches": batches, "batch": batch_of(salt, user, batches)}
        for salt in SALTS
        for user in USERS
        for batches in BATCHES
    ]


def test_the_vectors_are_what_the_function_says():
    if os.environ.get("WRITE_GOLDEN"):
        lines = ",\n".join(json.dumps(vector, ensure_ascii=False) for vector in vectors())
        VECTORS.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    assert json.loads(VECTORS.read_text(encoding="utf-8")) == vectors()


def test_a_fixed_point_computed_elsewhere():
    """xxh64("", seed 0) is the published 0xef46db3751d8e999."""
    assert batch_of("", "", 100) == 0xEF46DB3751D8E999 % 100
