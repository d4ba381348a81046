"""What every golden set needs: tolerances, filled weights, judgement.

A set names its salt and tolerances in manifest.json and its sizes in tiny.json; nothing here knows
the public set.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from indextts.checks import Check
from indextts.fill import fill, is_computed
from indextts.weights import GPT2_MATRIX, Rules, convert, map_key

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
Tensors: TypeAlias = Mapping[str, Tensor | NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """How official files name and store the tensors of one part of a checkpoint.

    ``rules`` lead from official keys to ours, ``official`` (pattern, replacement) back;
    ``weight_norm`` matches the official keys that are stored as a magnitude and a direction.
    """

    rules: Rules = ()
    official: tuple[tuple[str, str], ...] = ()
    weight_norm: str | None = None
    gpt2: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenContext:
    """One npz file of a set: its name, the set's tiny.json and manifest.json, official files."""

    file: str
    config: Mapping[str, Any]
    manifest: Mapping[str, Any]
    official: Path | None = None

    @property
    def salt(self) -> str:
        """What makes this set's weights its own."""
        return str(self.manifest.get("salt", ""))

    def tolerance(self, name: str) -> float:
        """Largest absolute difference allowed for the array ``name``; 0 where none is given.

        The longest pattern that matches wins.
        """
        table: Mapping[str, float] = self.manifest.get("tolerance_max_abs", {}).get(self.file, {})
        if name in table:
            return float(table[name])
        matches = [pattern for pattern in table if fnmatchcase(name, pattern)]
        return float(table[max(matches, key=len)]) if matches else 0.0

    def informative(self, name: str) -> bool:
        """Whether ``name`` is printed but not judged."""
        patterns: Iterable[str] = self.manifest.get("informative", {}).get(self.file, ())
        return any(fnmatchcase(name, pattern) for pattern in patterns)


def compare(name: str, got: Tensor | NDArray[Any], want: NDArray[Any], ctx: GoldenContext) -> Check:
    """Judge one array by the largest absolute difference; integers, but 16-bit sound, are exact."""
    ours = got.detach().cpu().numpy() if isinstance(got, Tensor) else np.asarray(got)
    exact = want.dtype.kind in "iub" and want.dtype != np.int16
    tolerance = 0.0 if exact else ctx.tolerance(name)
    informative = ctx.informative(name)
    if ours.shape != want.shape:
        detail, error = f"shape {ours.shape} instead of {want.shape}", math.inf
    else:
        detail = "exact" if exact else ""
        difference = np.abs(ours.astype(np.float64) - want.astype(np.float64))
        error = float(difference.max(initial=0.0))
    return Check(
        name=f"{ctx.file}:{name}",
        max_error=error,
        tolerance=tolerance,
        ok=informative or error <= tolerance,
        informative=informative,
        detail=detail,
    )


def judge(arrays: Arrays, got: Tensors, inputs: Iterable[str], ctx: GoldenContext) -> list[Check]:
    """One check per array that is not an input; an array nobody computed fails."""
    given = set(inputs)
    checks = []
    for name, want in arrays.items():
        if name in given:
            continue
        if name in got:
            checks.append(compare(name, got[name], want, ctx))
            continue
        informative = ctx.informative(name)
        checks.append(
            Check(
                name=f"{ctx.file}:{name}",
                max_error=math.nan,
                tolerance=ctx.tolerance(name),
                ok=informative,
                informative=informative,
                detail="not computed"
                if informative
                else "unknown array, or official files missing",
            )
        )
    return checks


def official_tensors(
    naming: Naming, module: nn.Module, prefix: str, salt: str
) -> dict[str, Tensor]:
    """What an official file would hold for ``module``: tensors by official name, from ``fill``."""
    official: dict[str, Tensor] = {}
    for ours, tensor in module.state_dict().items():
        key = _official_key(naming, ours)
        if is_computed(f"{prefix}/{key}") or map_key(naming.rules, key) is None:
            continue
        for name, shape in _official_shapes(naming, key, tuple(tensor.shape)):
            official[name] = torch.from_numpy(fill(f"{prefix}/{name}", shape, salt))
    return official


def filled(naming: Naming, module: nn.Module, prefix: str, salt: str) -> dict[str, Tensor]:
    """A state dict for ``module``: official tensors by name, then what the loader does to them."""
    official = official_tensors(naming, module, prefix, salt)
    return convert(naming.rules, official, gpt2=naming.gpt2)


def load_filled(naming: Naming, module: nn.Module, prefix: str, ctx: GoldenContext) -> None:
    """Give ``module`` the weights of the set, strictly, and put it in evaluation mode."""
    module.load_state_dict(filled(naming, module, prefix, ctx.salt))
    module.eval()


def _official_key(naming: Naming, ours: str) -> str:
    key = ours
    for pattern, replacement in naming.official:
        key = re.sub(pattern, replacement, key)
    return key


def _official_shapes(
    naming: Naming, key: str, shape: tuple[int, ...]
) -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes in the official file of one of our tensors."""
    if naming.weight_norm is not None and re.search(naming.weight_norm, key):
        return [(f"{key}_g", (shape[0], *[1] * (len(shape) - 1))), (f"{key}_v", shape)]
    turned = naming.gpt2 and GPT2_MATRIX.search(key)
    return [(key, shape[::-1] if turned else shape)]


@contextmanager
def capture(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Outputs of ``modules`` under their names, filled in as they run inside the block."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, args: object, output: Any) -> None:
        outputs[name] = output[0] if isinstance(output, tuple) else output

    handles = [
        module.register_forward_hook(partial(keep, name)) for name, module in modules.items()
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def tensors(arrays: Arrays, *names: str) -> list[Tensor]:
    """Arrays of a set as tensors."""
    return [torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in names]


def views(arrays: Arrays, seen: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the arrays' names ask for: ``[mid_]NAME``, its statistics or its first entries."""
    got = {}
    for name, want in arrays.items():
        match = re.fullmatch(r"(?:mid_)?(\w+?)(_mean_std_absmax|_stats|_slice)?", name)
        if match is None or match[1] not in seen:
            continue
        value = seen[match[1]]
        if match[2] is None:
            got[name] = value
        elif match[2] == "_slice":
            got[name] = value[tuple(slice(size) for size in want.shape)]
        else:
            got[name] = torch.stack((value.mean(), value.std(), value.abs().max()))
    return got
