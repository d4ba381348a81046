"""A whole IndexTTS 1.5 checkpoint with small random networks, in the official layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml

from indextts.goldens.arrays import official_tensors
from indextts.goldens.v1 import NAMING
from indextts.v1.config import V1Config
from indextts.v1.gpt import V1Gpt
from indextts.v1.vocoder import BigVGAN
from tests.indextts.tiny_checkpoint import write_tokenizer

CONFIG: dict[str, Any] = {
    "version": 1.5,
    "dataset": {"bpe_model": "bpe.model", "mel": {"n_mels": 100}},
    "gpt": {
        "model_dim": 64,
        "layers": 2,
        "heads": 1,
        "max_text_tokens": 60,
        "max_mel_tokens": 520,
        "number_text_tokens": 64,
        "number_mel_codes": 66,
        "start_mel_token": 64,
        "stop_mel_token": 65,
        "condition_type": "conformer_perceiver",
        "condition_module": {
            "output_size": 16,
            "linear_units": 32,
            "attention_heads": 2,
            "num_blocks": 1,
            "input_layer": "conv2d2",
        },
    },
    "bigvgan": {
        "gpt_dim": 64,
        "upsample_rates": [4, 4, 4, 4, 2, 2],
        "upsample_kernel_sizes": [8, 8, 4, 4, 4, 4],
        "upsample_initial_channel": 64,
        "speaker_embedding_dim": 24,
    },
    "gpt_checkpoint": "gpt.pth",
    "bigvgan_checkpoint": "bigvgan_generator.pth",
}


def write_v1(root: Path, **inference: Any) -> Path:
    """Write the checkpoint; ``inference`` sets defaults of its own."""
    root.mkdir(parents=True)
    config = V1Config.model_validate(CONFIG)
    (root / "config.yaml").write_text(yaml.safe_dump({**CONFIG, "inference": inference}))
    write_tokenizer(root)
    gpt = V1Gpt(config.gpt, n_mels=100, layout="trained")
    names = official_tensors(NAMING["gpt"], gpt, "gpt", "tiny")
    names["mel_head.bias"][config.gpt.stop_mel_token] += 2.0  # chance alone ends too late
    torch.save({"model": names}, root / "gpt.pth")
    vocoder = BigVGAN(config.bigvgan)
    weights = official_tensors(NAMING["bigvgan"], vocoder, "bigvgan", "tiny")
    torch.save({"generator": weights}, root / "bigvgan_generator.pth")
    return root
