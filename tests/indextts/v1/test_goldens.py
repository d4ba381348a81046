"""Every golden array of IndexTTS 1, and the official names at official sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from indextts.goldens.arrays import GoldenContext
from indextts.goldens.v1 import CHECKERS
from indextts.v1.config import V1Config
from indextts.v1.gpt import V1Gpt
from indextts.v1.vocoder import BigVGAN
from indextts.v1.weights import PARTS
from indextts.weights import convert

GOLDENS = Path(__file__).parents[2] / "goldens" / "indextts1"
OFFICIAL = Path(__file__).parents[3] / "../shared/reference/indextts1/state_dict.json"

MODULE = {
    "output_size": 512,
    "linear_units": 2048,
    "attention_heads": 8,
    "num_blocks": 6,
    "perceiver_mult": 2,
}


def golden(file: str) -> tuple[dict[str, Any], GoldenContext]:
    with np.load(GOLDENS / file) as data:
        arrays = dict(data)
    config, manifest = (
        json.loads((GOLDENS / name).read_text("utf-8")) for name in ("tiny.json", "manifest.json")
    )
    return arrays, GoldenContext(file=file, config=config, manifest=manifest)


@pytest.mark.parametrize("file", sorted(CHECKERS))
@torch.no_grad()
def test_every_array_is_within_tolerance(file: str) -> None:
    arrays, ctx = golden(file)
    checks = CHECKERS[file](arrays, ctx)
    assert [check for check in checks if not check.ok] == []
    assert len(checks) >= 6


@torch.no_grad()
def test_a_wrong_weight_is_found() -> None:
    arrays, ctx = golden("latent.npz")
    other = GoldenContext(
        file=ctx.file, config=ctx.config, manifest={**ctx.manifest, "salt": "other"}
    )
    assert not any(check.ok for check in CHECKERS["latent.npz"](arrays, other))


def official(version: str, part: str) -> dict[str, torch.Tensor]:
    if not OFFICIAL.is_file():
        pytest.skip("needs the names and shapes of the official checkpoints (../shared)")
    stored = json.loads(OFFICIAL.read_text("utf-8"))[version]
    file = {"gpt": "gpt.pth", "bigvgan": "bigvgan_generator.pth[generator]"}[part]
    shapes = stored[file]["tensors"]
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


@pytest.mark.parametrize(
    ("version", "sizes"),
    [
        ("1.0", {"model_dim": 1024, "layers": 20, "heads": 16, "max_mel_tokens": 605}),
        ("1.5", {"model_dim": 1280, "layers": 24, "heads": 20, "max_mel_tokens": 800}),
    ],
)
def test_the_official_files_fit_without_a_key_left_over(version: str, sizes: Any) -> None:
    sections = {
        "gpt": {
            **sizes,
            "max_text_tokens": {"1.0": 402, "1.5": 600}[version],
            "number_text_tokens": 12000,
            "number_mel_codes": 8194,
            "start_mel_token": 8192,
            "stop_mel_token": 8193,
            "condition_module": MODULE,
        },
        "bigvgan": {
            "gpt_dim": sizes["model_dim"],
            "upsample_kernel_sizes": [8, 8, 4, 4, 4, 4],
        },
    }
    config = V1Config.model_validate(sections)
    with torch.device("meta"):
        modules: dict[str, nn.Module] = {
            "gpt": V1Gpt(config.gpt, n_mels=100, layout="trained"),
            "bigvgan": BigVGAN(config.bigvgan),
        }
    for part, module in modules.items():
        have = convert(PARTS[part], official(version, part), gpt2=part == "gpt")
        want = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
        assert {key: tuple(tensor.shape) for key, tensor in have.items()} == want
