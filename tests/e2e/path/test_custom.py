"""A module of the user's own, in an image that stands on the trainer's: applied, served, renewed.

It has a namespace to itself and leaves nothing: the node has no room for another model beside it.
"""

from __future__ import annotations

import itertools
import shutil
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from demo import installation as steps
from demo.commands import ROOT
from millstream_api.manifest import VersionRef
from millstream_api.names import HEADER_VERSION
from millstream_core.store import ModelStore
from tests.builders import ranker
from tests.builders.kube import Kube, eventually
from tests.e2e.path.looking import explain, stable, status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from demo.installation import Installation

# The first test of the folder builds and loads the images: long, where nothing is cached yet.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]

NAMESPACE = MODEL = "shop-custom"
IMAGE = "localhost/shop-trainer:e2e"
# As docs/models.md tells it.
CONTAINERFILE = f"FROM {steps.image('trainer')}\nCOPY shop /app/shop\n"


def changed(example: str, name: str, **spec: Any) -> dict[str, Any]:
    """An example under another name, with other parts of its spec."""
    body: dict[str, Any] = yaml.safe_load((ROOT / "examples" / example).read_text())
    body["metadata"] = {"name": name, "namespace": NAMESPACE}
    body["spec"] |= spec
    return body


@pytest.fixture
def applied(installed: Installation, kube: Kube, tmp_path: Path) -> Iterator[None]:
    """The examples with a module of one's own."""
    (tmp_path / "shop").mkdir()
    shutil.copy(ranker.__file__, tmp_path / "shop" / "ranking.py")
    (tmp_path / "Containerfile").write_text(CONTAINERFILE)
    words = ("--file", str(tmp_path / "Containerfile"), "--context", str(tmp_path))
    steps.devcluster("load-image", IMAGE, *words)
    steps.start_afresh(installed, NAMESPACE, MODEL)
    steps.apply_examples(installed, NAMESPACE)
    model = {
        "architecture": "Custom",
        "custom": {"module": "shop.ranking:Ranker"},
        "embeddingDim": 16,
        "historyLength": 20,
    }
    kube.apply(changed("rectraining.yaml", MODEL, image=IMAGE, model=model))
    kube.apply(changed("recserving.yaml", MODEL, replicas=1, model={"name": MODEL}))
    yield
    steps.start_afresh(installed, NAMESPACE, MODEL)


@pytest.mark.usefixtures("applied")
def test_a_module_of_ones_own_answers_and_its_next_version_after_it(
    installed: Installation, kube: Kube
) -> None:
    def seen() -> str:
        return explain(installed, NAMESPACE, MODEL)

    eventually(lambda: stable(kube, NAMESPACE, MODEL) is not None, "a version is stable", 300, seen)
    release = status(kube, "RecServing", NAMESPACE, MODEL)["release"]
    first = VersionRef.model_validate(release["stable"])
    manifest = ModelStore(installed.objects(), "", MODEL).manifest(first)
    assert manifest.architecture.name == "Custom"

    url = installed.service_url(NAMESPACE, MODEL)
    eventually(
        lambda: httpx.get(f"{url}/recommend/1", timeout=5).status_code == 200, "an answer", 30
    )

    users = itertools.count()  # those of the first batches get the candidate first

    def newer_answers() -> bool:
        question = {"user_id": next(users), "items": [1, 2, 3]}
        answer = httpx.post(f"{url}/v1/rank", json=question, timeout=5)
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["items"]) == 3
        return int(answer.headers[HEADER_VERSION]) > first.version

    eventually(newer_answers, "a newer version answers", 120, seen)
    [server] = kube.list("Pod", NAMESPACE, "app.kubernetes.io/component=server")
    assert [each["restartCount"] for each in server["status"]["containerStatuses"]] == [0]
