"""Checkpoint history in one place: official state-dict key -> key of our modules, or ``None``.

Sources: specification 1.3 and the notes of the reference's state_dict.json. Everything not named
here keeps its name. ``convert`` applies the mapping, folds weight norm and turns GPT-2's ``[in,
out]`` matrices; the result is loaded with ``strict=True``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor

Rules = tuple[tuple[str, str | None], ...]

PARTS: dict[str, Rules] = {
    "gpt": (
        (r"\.attn\.(bias|masked_bias)$", None),
        (r"^inference_model\.", None),
        (r"\.embed\.pos_enc\.pe$", None),
        (r"^text_head\.", None),
    ),
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

_GPT2_TRANSPOSED = re.compile(r"\.(c_attn|c_proj|c_fc)\.weight$")


def map_key(part: str, key: str) -> str | None:
    """Our name for an official ``key`` of ``part``; ``None`` when inference has no use for it."""
    key = key.removeprefix("module.")
    for pattern, replacement in PARTS[part]:
        if replacement is None:
            if re.search(pattern, key):
                return None
        else:
            key = re.sub(pattern, replacement, key)
    return key


def convert(
    part: str, tensors: Mapping[str, Tensor], keep: Callable[[str], bool] = lambda key: True
) -> dict[str, Tensor]:
    """Official tensors of ``part`` as a state dict for our module.

    Weight-norm pairs become one ``weight = g * v / ||v||`` (norm over all axes but 0), GPT-2
    matrices are transposed to ``[out, in]``. ``keep`` may leave out more of our keys (layers
    never run).
    """
    mapped: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        ours = map_key(part, key)
        if ours is not None and keep(ours):
            mapped[ours] = tensor.t() if part == "gpt" and _GPT2_TRANSPOSED.search(key) else tensor
    for key in [k for k in mapped if k.endswith(".weight_g")]:
        stem = key.removesuffix("_g")
        g, v = mapped.pop(key), mapped.pop(f"{stem}_v")
        norm = v.flatten(1).norm(dim=1).reshape(g.shape)
        mapped[stem] = v * (g / norm)
    return mapped
