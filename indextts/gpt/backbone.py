"""GPT-2 blocks over embeddings, and the cache of their keys and values (specification 6.4).

After Radford et al. 2019, "Language Models are Unsupervised Multitask Learners". The stack has no
embedding tables of its own. How queries find their keys is handed in as an ``Attend``, so that the
same modules train, prefill and decode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Attend: TypeAlias = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""``(layer, query, key, value)``, each ``[B, heads, T, head]``, -> ``[B, heads, T, head]``."""


def attend_causally(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Whole sequences, ``[B, heads, T, head]``; right padding needs no mask under causality."""
    return F.scaled_dot_product_attention(query, key, value, is_causal=True)


class SelfAttention(nn.Module):
    """Multi-head attention with one fused projection."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.shape = (3, heads, width // heads)
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``[B, T, C]`` -> query, key, value, each ``[B, heads, T, head]``."""
        query, key, value = self.c_attn(x).unflatten(-1, self.shape).permute(2, 0, 3, 1, 4).unbind()
        return query, key, value

    def forward(self, x: Tensor, layer: int, attend: Attend) -> Tensor:
        """``[B, T, C]`` -> ``[B, T, C]``."""
        mixed: Tensor = self.c_proj(attend(layer, *self.split(x)).transpose(1, 2).flatten(2))
        return mixed


class FeedForward(nn.Module):
    """Two linear layers, four times as wide between, with the tanh approximation of GELU."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, T, C]`` -> ``[B, T, C]``."""
        projected: Tensor = self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))
        return projected


class Block(nn.Module):
    """Attention and feed-forward, each with a norm before it and a residual around it."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = SelfAttention(width=width, heads=heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width=width)

    def forward(self, x: Tensor, layer: int, attend: Attend) -> Tensor:
        """``[B, T, C]`` -> ``[B, T, C]``."""
        x = x + self.attn(self.ln_1(x), layer, attend)
        mixed: Tensor = x + self.mlp(self.ln_2(x))
        return mixed


class Backbone(nn.Module):
    """The stack of blocks and its last norm."""

    def __init__(self, *, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.h = nn.ModuleList(Block(width=width, heads=heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width)

    def forward(self, x: Tensor, attend: Attend = attend_causally) -> Tensor:
        """``[B, T, C]`` -> ``[B, T, C]``."""
        for layer, block in enumerate(self.h):
            x = block(x, layer, attend)
        normed: Tensor = self.ln_f(x)
        return normed


class KeyValueCache:
    """Keys and values of up to ``rows`` sequences of up to ``positions`` positions.

    Rows in use are ``0 .. n - 1``, so that a step touches no more than it needs. Rows start zeroed:
    what is masked must be finite, because 0 * NaN is NaN.
    """

    def __init__(self, backbone: Backbone, *, rows: int, positions: int) -> None:
        first = backbone.h[0]
        assert isinstance(first, Block)
        _, heads, head = first.attn.shape
        shape = (len(backbone.h), rows, heads, positions, head)
        weight = first.attn.c_attn.weight
        self._keys = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
        self._values = torch.zeros_like(self._keys)
        self.rows = rows
        self.positions = positions

    def prefill(self, row: int) -> Attend:
        """Attention of one whole prompt (``B = 1``) that fills ``row`` from its start."""

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            self._keys[layer, row, :, : key.shape[2]] = key[0]
            self._values[layer, row, :, : value.shape[2]] = value[0]
            return attend_causally(layer, query, key, value)

        return attend

    def decode(self, lengths: Sequence[int]) -> Attend:
        """Attention of one new position (``T = 1``) of each row ``0 .. len(lengths) - 1``.

        Row ``i`` already holds ``lengths[i]`` positions; the new one is appended to it. Rows of one
        length, a single one above all, need neither mask nor scatter.
        """
        rows, longest = len(lengths), max(lengths) + 1
        keys = self._keys[:, :rows, :, :longest].unbind()
        values = self._values[:, :rows, :, :longest].unbind()
        if min(lengths) + 1 == longest:
            new_keys = self._keys[:, :rows, :, longest - 1 : longest].unbind()
            new_values = self._values[:, :rows, :, longest - 1 : longest].unbind()

            def attend_aligned(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
                new_keys[layer].copy_(key)
                new_values[layer].copy_(value)
                return F.scaled_dot_product_attention(query, keys[layer], values[layer])

            return attend_aligned

        at = torch.tensor(lengths, device=self._keys.device)
        each = torch.arange(rows, device=at.device)
        mask = (torch.arange(longest, device=at.device) <= at[:, None])[:, None, None]

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            keys[layer][each, :, at] = key[:, :, 0]
            values[layer][each, :, at] = value[:, :, 0]
            return F.scaled_dot_product_attention(query, keys[layer], values[layer], attn_mask=mask)

        return attend

    def move(self, *, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` positions of row ``source`` over row ``target``."""
        for cached in (self._keys, self._values):
            cached[:, target, :, :length] = cached[:, source, :, :length]

    def clear(self, row: int) -> None:
        """Zero a row, after numbers in it went bad."""
        self._keys[:, row] = 0
        self._values[:, row] = 0
