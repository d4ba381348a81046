"""Checkpoint history in one place: official state-dict key -> key of our modules, or ``None``.

Sources: specification 1.3 and the notes of the reference's state_dict.json. Everything not named
here keeps its name. What ``convert`` gives is loaded with ``strict=True``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from indextts import weights
from indextts.weights import GPT_RULES, Rules

PARTS: dict[str, Rules] = {
    "gpt": GPT_RULES,
    "cfm": (
        (r"^estimator\.(x_embedder|cond_embedder|content_mask_embedder)\.", None),
        (r"^estimator\.input_pos$", None),
        (r"\.(freqs|freqs_cis|causal_mask)$", None),
        (r"^estimator\.", ""),
        (r"\.conv\.conv\.", "."),
    ),
    "length_regulator": ((r"^(embedding\.weight|mask_token|f0_\w+\..*|f0_bins)$", None),),
    "gpt_layer": (),
    "semantic_codec": ((r"^decoder\.", None),),
    "campplus": (),
    "bigvgan": (
        (r"\.filter$", None),
        (r"^ups\.(\d+)\.0\.", r"ups.\1."),
        (r"\.act\.(alpha|beta)$", r".\1"),
    ),
    "w2v_bert": (),
}
"""Part of a checkpoint -> ordered rules: regular expression on the key, replacement or ``None``."""


def map_key(part: str, key: str) -> str | None:
    """Our name for an official ``key`` of ``part``; ``None`` when inference has no use for it."""
    return weights.map_key(PARTS[part], key)


def convert(
    part: str, tensors: Mapping[str, Tensor], keep: Callable[[str], bool] = lambda key: True
) -> dict[str, Tensor]:
    """Official tensors of ``part`` as a state dict for our module, as ``weights.convert`` does."""
    return weights.convert(PARTS[part], tensors, keep, gpt2=part == "gpt")
