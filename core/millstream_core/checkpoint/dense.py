"""Dense weights of a version: one safetensors object per group.

safetensors is read without pickle and refuses overlapping or overlong tensors by itself
(https://huggingface.co/docs/safetensors); its digest stands in the manifest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from millstream_core.store import IntegrityError

if TYPE_CHECKING:
    from millstream_api.manifest import Group, Manifest, ObjectRef
    from millstream_core.checkpoint.files import Folder
    from millstream_core.store import ModelStore

Tensors = dict[str, NDArray[Any]]


def write_dense(folder: Folder, group: Group, tensors: Tensors) -> ObjectRef:
    """Write the dense weights of one group of a version."""
    return folder.put(f"{group}/dense.safetensors", save(tensors))


def read_dense(store: ModelStore, manifest: Manifest, group: Group) -> Tensors:
    """The dense weights of one group by name.

    Raises:
        IntegrityError: altered, truncated, or no safetensors file at all.
    """
    if group not in manifest.dense:
        raise IntegrityError("Malformed", f"version {manifest.version} has no {group} weights")
    data = store.get_data(manifest.lineage, manifest.dense[group])
    try:
        return load(data)
    # KeyError: a type that numpy does not have; ValueError: a shape that it cannot.
    except (SafetensorError, KeyError, ValueError) as error:
        raise IntegrityError(
            "Malformed", f"the {group} weights of version {manifest.version}: {error}"
        ) from error
