"""Voices as plain arrays, marked with the weights they are for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Arrays: TypeAlias = Mapping[str, NDArray[np.float32]]

_MODEL = "model"
_SAMPLED_VALUES = 16


def fingerprint(modules: Mapping[str, nn.Module]) -> str:
    """SHA-256 over names, shapes and some values of every tensor: cheap even at official size."""
    digest = hashlib.sha256()
    for part, module in sorted(modules.items()):
        for name, tensor in sorted(module.state_dict().items()):
            values = tensor.detach().flatten()
            stride = max(1, values.numel() // _SAMPLED_VALUES)
            sample = values[::stride].float().cpu().numpy()
            digest.update(f"{part}/{name}{tuple(tensor.shape)}".encode())
            digest.update(sample.tobytes())
    return digest.hexdigest()


def dump_voice(voice: Any, mark: Mapping[str, int | str]) -> dict[str, NDArray[np.float32]]:
    """The tensors of a dataclass as float32 arrays, with the ``mark`` of what made them."""
    arrays = {
        field.name: getattr(voice, field.name).detach().float().cpu().numpy()
        for field in fields(voice)
    }
    return {**arrays, _MODEL: _stamp(mark)}


def load_voice(
    arrays: Arrays, dimensions: Mapping[str, int], mark: Mapping[str, int | str]
) -> dict[str, Tensor]:
    """The tensors that ``dump_voice`` wrote, each with its number of ``dimensions``.

    Raises ``ValueError`` when they are damaged or of another model.
    """
    stamp = arrays.get(_MODEL)
    if stamp is None or not np.array_equal(stamp, _stamp(mark)):
        raise ValueError("this voice was encoded by another model")
    tensors = {}
    for name, count in dimensions.items():
        array = arrays.get(name)
        if array is None or array.ndim != count or not np.isfinite(array).all():
            raise ValueError(f"the stored voice is damaged: {name}")
        tensors[name] = torch.from_numpy(np.array(array, np.float32))
    return tensors


def _stamp(mark: Mapping[str, int | str]) -> NDArray[np.float32]:
    digest = hashlib.sha256(repr(sorted(mark.items())).encode()).digest()
    return np.frombuffer(digest, np.uint8).astype(np.float32)
