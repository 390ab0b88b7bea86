"""What every candidate answers: ten items, as many bytes as an answer of ours."""

import json

ITEMS = [{"id": 123_456 + i, "score": 0.5123456789012345 + i / 1e3} for i in range(10)]
ANSWER = json.dumps({"version": 123, "batch": 7, "items": ITEMS}, separators=(",", ":")).encode()
JSON = "application/json"
