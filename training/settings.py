"""Dimensions and defaults of the checkpoint ``nano``: nano.yaml decides them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from indextts.v2.config import BigvganConfig, CheckpointConfig

_SETTINGS: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parent / "nano.yaml").read_text(encoding="utf-8")
)

BIGVGAN: dict[str, Any] = _SETTINGS.pop("bigvgan")
"""bigvgan/config.json."""

W2V_BERT: dict[str, Any] = _SETTINGS["w2v_bert"]
"""w2v-bert-2.0/config.json."""

CODES: int = _SETTINGS["semantic_codec"]["codebook_size"]
PHONES = CODES // 2
"""Phone symbols the codes have room for; each has two codes."""

FEATURES: int = _SETTINGS["conditioning_input"]["width"]
"""Width of the w2v-BERT features and of the codec."""


def checkpoint_sections(text_tokens: int) -> dict[str, Any]:
    """config.yaml of nano for a vocabulary of ``text_tokens`` pieces."""
    return {**_SETTINGS, "gpt": {**_SETTINGS["gpt"], "number_text_tokens": text_tokens}}


def checkpoint_config(text_tokens: int) -> CheckpointConfig:
    """The same, parsed."""
    return CheckpointConfig.model_validate(checkpoint_sections(text_tokens))


def bigvgan_config() -> BigvganConfig:
    """Dimensions of the vocoder."""
    return BigvganConfig.model_validate(BIGVGAN)
