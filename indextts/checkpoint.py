"""Files of a checkpoint folder, in all layouts, read lazily and never executed.

The official layout, the ``IndexTTS-2-vLLM`` layout and the embedded one differ only in where the
auxiliary models lie and in the file format (specification 1.1, 1.2): ``.pth`` and ``.bin`` pickles
are read with ``weights_only=True``, safetensors as they are; both are memory-mapped.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

EMBEDDED = ("nano",)
"""Checkpoints that come with the package."""

_HUB = "hf_cache/models--{}/snapshots/*"
_CANDIDATES: dict[str, tuple[str, ...]] = {
    "semantic_codec": (
        "semantic_codec/model.safetensors",
        "hf_cache/semantic_codec_model.safetensors",
        _HUB.format("amphion--MaskGCT") + "/semantic_codec/model.safetensors",
    ),
    "campplus": (
        "campplus/campplus_cn_common.safetensors",
        "campplus/campplus_cn_common.bin",
        "campplus_cn_common.bin",
        "hf_cache/campplus_cn_common.bin",
        _HUB.format("funasr--campplus") + "/campplus_cn_common.bin",
    ),
    "bigvgan": (
        "bigvgan/bigvgan_generator.safetensors",
        "bigvgan/bigvgan_generator.pt",
        "hf_cache/bigvgan/bigvgan_generator.pt",
        _HUB.format("nvidia--bigvgan_v2_22khz_80band_256x") + "/bigvgan_generator.pt",
    ),
    "w2v_bert": (
        "w2v-bert-2.0/model.safetensors",
        "hf_cache/w2v-bert-2.0/model.safetensors",
        _HUB.format("facebook--w2v-bert-2.0") + "/model.safetensors",
    ),
}
_MAX_TEXT_BYTES = 1 << 20


class CheckpointError(Exception):
    """A checkpoint that cannot be used; the message names the missing file or key."""


def find_checkpoint(name: str | Path) -> Path:
    """The folder of an embedded checkpoint by name, or the folder itself.

    Raises ``CheckpointError`` when there is none or it has no config.yaml.
    """
    folder = Path(name)
    if str(name) in EMBEDDED:
        root = Path(__file__).parents[1]
        places = [base / "checkpoints" / str(name) for base in (root, root / "indextts_stream")]
        folder = next((place for place in places if place.is_dir()), places[0])
    if not (folder / "config.yaml").is_file():
        raise CheckpointError(
            f"{folder} is not a checkpoint: it has no config.yaml "
            f"(a folder is expected, or one of: {', '.join(EMBEDDED)})"
        )
    return folder


class CheckpointFolder:
    """The files of one checkpoint."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def yaml(self, name: str) -> dict[str, Any]:
        """A YAML or JSON file of the folder as a dictionary."""
        path = self.file(name)
        if path.stat().st_size > _MAX_TEXT_BYTES:
            raise CheckpointError(f"{path} is too big for a configuration file")
        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from None
        if not isinstance(data, dict):
            raise CheckpointError(f"{path} does not hold a mapping")
        return data

    def file(self, name: str) -> Path:
        """A file or folder by its name in the configuration."""
        path = self.root / name
        if not path.exists():
            raise CheckpointError(f"missing file: {path}")
        return path

    def auxiliary(self, part: str) -> Path:
        """The weights of an auxiliary model, wherever this layout keeps them."""
        for pattern in _CANDIDATES[part]:
            found = sorted(self.root.glob(pattern))
            if found:
                return found[-1]
        tried = "\n  ".join(_CANDIDATES[part])
        raise CheckpointError(f"{self.root} has no weights for {part}; looked for:\n  {tried}")


def read_tensors(path: Path) -> dict[str, Any]:
    """All tensors of a file, memory-mapped on the CPU; pickles may hold nested dictionaries."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        try:
            data = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # files of the old format cannot be mapped
            data = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # every reader has its own exceptions; all mean the same here
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    return data if isinstance(data, dict) else {"tensor": data}


def subset(tensors: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    """Tensors whose flat key starts with ``prefix``, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def single(path: Path) -> Tensor:
    """The one tensor of a file, detached float32 (feat1.pt was saved with ``requires_grad``)."""
    tensors = [value for value in read_tensors(path).values() if isinstance(value, Tensor)]
    if len(tensors) != 1:
        raise CheckpointError(f"{path} should hold exactly one tensor, it holds {len(tensors)}")
    return tensors[0].detach().float()
