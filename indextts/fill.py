"""Deterministic weights for any key and shape: what the golden vectors were computed with.

Every tensor is a function of its key, its shape and a salt, drawn from numpy's frozen legacy
generator, so nobody has to ship weights. Keys are ``<file>/<official state-dict key>``.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_COMPUTED = re.compile(
    r"(\.pe|\.freqs|input_pos|freqs_cis|causal_mask|\.attn\.bias|masked_bias|\.filter"
    r"|position_ids|f0_bins)$"
)

_GAINS = (
    (r"embed\.out\.0\.weight$", 0.1),
    (r"gpt\.h\.\d+\..*c_proj\.weight$", 0.6),
    (r"(attention\.wo|feed_forward\.w2)\.weight$", 0.6),
    (r"mel_head\.weight$", 4.0),
    (r"speed_emb\.weight$", 0.5),
    (r"pos_embedding\.emb\.weight$", 0.6),
    (r"project_layer\.weight$", 0.3),
    (r"adaLN_modulation\.1\.weight$", 0.3),
    (r"^campplus/.*(conv[12]|linear1?|linear_local|shortcut\.0)\.weight$", 1.27),
    (r"^campplus/.*linear_local\.weight$", 1.6),
)

_EMBEDDING = re.compile(
    r"(embedding|\.emb|_emb|codebook|embedding_table|cond_embedder|mask_embedder)\.weight$"
)

# Leaf name -> centre and half-width of a uniform distribution.
_RANGES = {
    "running_var": (1.0, 0.4),
    "running_mean": (0.0, 0.2),
    "alpha": (0.0, 0.5),
    "beta": (0.0, 0.5),
    "gamma": (1.0, 0.2),
    "latents": (0.0, 1.0),
    "pos_bias_u": (0.0, 0.3),
    "pos_bias_v": (0.0, 0.3),
    "mask_token": (0.0, 0.1),
    "bias": (0.0, 0.08),
}


def is_computed(key: str) -> bool:
    """Whether ``key`` is a buffer that a module derives from its configuration."""
    return bool(_COMPUTED.search(key))


def fill(key: str, shape: Sequence[int], salt: str = "") -> NDArray[Any]:
    """Float32 weights for ``key`` (int64 zeros for ``num_batches_tracked``).

    Raises ``KeyError`` for a computed buffer.
    """
    size = tuple(int(n) for n in shape)
    if is_computed(key):
        raise KeyError(f"computed buffer, not a weight: {key}")
    leaf = re.split(r"[./]", key)[-1]
    if leaf == "num_batches_tracked":
        return np.zeros(size, np.int64)
    centre, half_width = _spread(key, leaf, size)
    values = centre + half_width * _uniform(key, size, salt)
    if key.endswith("project_layer.bias"):  # the first half multiplies
        values[: size[0] // 2] += 1.0
    return np.ascontiguousarray(values.astype(np.float32))


def _uniform(key: str, shape: tuple[int, ...], salt: str) -> NDArray[np.float64]:
    seed = zlib.crc32(f"{salt}|{key}".encode())
    draws = np.random.RandomState(seed).random_sample(math.prod(shape))
    return np.asarray(2.0 * draws - 1.0).reshape(shape)


def _spread(key: str, leaf: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Centre and half-width of the values of ``key``."""
    gain = math.prod(factor for pattern, factor in _GAINS if re.search(pattern, key))
    if leaf == "weight_g":
        magnitude = _magnitude(key) * gain
        return magnitude, 0.2 * magnitude
    if leaf == "gamma" and "convnext" in key:
        return 0.3, 0.1
    if leaf in _RANGES:
        return _RANGES[leaf]
    if len(shape) == 1:
        return 1.0, 0.25
    if len(shape) == 2 and _EMBEDDING.search(key):
        return 0.0, gain * 0.8 * math.sqrt(3)
    gpt2 = re.search(r"c_(attn|proj|fc)\.weight$", key)  # stored [in, out]
    fan_in = shape[0] if gpt2 else math.prod(shape[1:])
    return 0.0, gain * math.sqrt(3) / math.sqrt(max(1, fan_in))


def _magnitude(key: str) -> float:
    """Mean of a weight-norm magnitude."""
    if ".convs2." in key:
        return 0.35
    if key.startswith("bigvgan/conv_post"):
        return 0.15
    return 1.5 if key.startswith("s2mel/cfm/estimator.wavenet.in_layers") else 1.0
