"""What the server says of itself is what clients are made from: it changes on purpose alone."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from millstream_serving.http.openapi import description
from tests.builders.golden import same_as

HERE = Path(__file__).parent


def test_the_description_of_the_server():
    told = json.loads(json.dumps(description("shop", "0.1.0")))
    assert same_as(HERE / "openapi.yaml", yaml.safe_dump(told, sort_keys=False, width=100))
