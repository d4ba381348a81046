"""Modules with weights that keep signals near unit size, unlike a fresh initialisation."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from indextts.goldens.v2 import filled

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def lively(part: str, module: ModuleT, salt: str = "test") -> ModuleT:
    """``module`` with the golden sets' kind of weights, in evaluation mode."""
    module.load_state_dict(filled(part, module, part, salt))
    return module.eval()
