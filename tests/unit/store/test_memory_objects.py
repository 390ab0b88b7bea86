"""The object store of the tests keeps the contract of the real one."""

import pytest

from millstream_core.store import ObjectStore
from tests.builders.object_store_contract import ObjectStoreContract
from tests.builders.objects import MemoryObjects


class TestMemoryObjects(ObjectStoreContract):
    @pytest.fixture
    def objects(self) -> ObjectStore:
        return MemoryObjects()
