"""From official state-dict keys to ours: the mechanism; each family's ``weights`` has its table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor

Rules = tuple[tuple[str, str | None], ...]
"""Ordered: regular expression on the key, replacement or ``None`` for what inference ignores."""

GPT_RULES: Rules = (
    (r"\.attn\.(bias|masked_bias)$", None),
    (r"^inference_model\.", None),
    (r"\.embed\.pos_enc\.pe$", None),
    (r"^text_head\.", None),
)
"""Of the autoregressive model, which is stored alike in both families."""

GPT2_MATRIX = re.compile(r"\.(c_attn|c_proj|c_fc)\.weight$")
"""Matrices that the official files of the part ``gpt`` keep as ``[in, out]``."""


def map_key(rules: Rules, key: str) -> str | None:
    """Our name for an official ``key``; ``None`` when inference has no use for it."""
    key = key.removeprefix("module.")
    for pattern, replacement in rules:
        if replacement is None:
            if re.search(pattern, key):
                return None
        else:
            key = re.sub(pattern, replacement, key)
    return key


def convert(
    rules: Rules,
    tensors: Mapping[str, Tensor],
    keep: Callable[[str], bool] = lambda key: True,
    *,
    gpt2: bool = False,
) -> dict[str, Tensor]:
    """Official tensors as a state dict for our module.

    Weight-norm pairs become one ``weight = g * v / ||v||`` (norm over all axes but 0), the matrices
    of a ``gpt2`` are transposed to ``[out, in]``. ``keep`` may leave out more of our keys (layers
    never run).
    """
    mapped: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        ours = map_key(rules, key)
        if ours is not None and keep(ours):
            mapped[ours] = tensor.t() if gpt2 and GPT2_MATRIX.search(key) else tensor
    for key in [k for k in mapped if k.endswith(".weight_g")]:
        stem = key.removesuffix("_g")
        g, v = mapped.pop(key), mapped.pop(f"{stem}_v")
        norm = v.flatten(1).norm(dim=1).reshape(g.shape)
        mapped[stem] = v * (g / norm)
    return mapped
