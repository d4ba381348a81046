"""Conformer encoder of the conditioning path (specification 6.1).

After Gulati et al. 2020, "Conformer: Convolution-augmented Transformer for Speech Recognition"
(arXiv:2005.08100), with one feed-forward module per block and positions that enter the attention
scores without the relative shift of Transformer-XL.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MIN_FRAMES = 3
"""Shortest input that leaves one frame after subsampling."""


def valid_frames(lengths: Tensor, frames: int) -> Tensor:
    """Mask of the frames before each length: ``[B]`` -> bool ``[B, frames]``."""
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


def sinusoids(frames: int, width: int, like: Tensor) -> Tensor:
    """Position table ``[1, frames, width]``: sine on even channels, cosine on odd ones.

    ``width`` is even. Dtype and device are those of ``like``.
    """
    rates = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float32) / width)
    angles = torch.arange(frames, dtype=torch.float32)[:, None] * rates
    table = torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)
    return table[None].to(like)


class Subsampling(nn.Module):
    """Halves the frame rate with a strided convolution and projects to the model width."""

    def __init__(self, *, in_features: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, width, 3, stride=2), nn.ReLU())
        self.out = nn.Sequential(nn.Linear(width * ((in_features - 1) // 2), width))
        self.scale: float = width**0.5

    def forward(self, x: Tensor) -> Tensor:
        """``[B, T, in_features]`` -> ``[B, (T - 1) // 2, width]``."""
        planes: Tensor = self.conv(x[:, None])
        projected: Tensor = self.out(planes.transpose(1, 2).flatten(2))
        return projected * self.scale


class PositionedAttention(nn.Module):
    """Self-attention whose scores add a term for the absolute index of the key."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.linear_q = nn.Linear(width, width)
        self.linear_k = nn.Linear(width, width)
        self.linear_v = nn.Linear(width, width)
        self.linear_out = nn.Linear(width, width)
        self.linear_pos = nn.Linear(width, width, bias=False)
        self.pos_bias_u = nn.Parameter(torch.zeros(heads, width // heads))
        self.pos_bias_v = nn.Parameter(torch.zeros(heads, width // heads))

    def forward(self, x: Tensor, positions: Tensor, valid: Tensor) -> Tensor:
        """``x [B, T, C]``, ``positions [1, T, C]``, ``valid [B, T]`` -> ``[B, T, C]``."""
        query, key, value, place = (
            projected.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for projected in (
                self.linear_q(x),
                self.linear_k(x),
                self.linear_v(x),
                self.linear_pos(positions),
            )
        )
        content = (query + self.pos_bias_u[:, None]) @ key.transpose(-2, -1)
        location = (query + self.pos_bias_v[:, None]) @ place.transpose(-2, -1)
        scores = (content + location) / query.shape[-1] ** 0.5
        weights = scores.masked_fill(~valid[:, None, None], float("-inf")).softmax(-1)
        mixed: Tensor = self.linear_out((weights @ value).transpose(1, 2).flatten(2))
        return mixed


class ConvModule(nn.Module):
    """Gated depthwise convolution over time."""

    def __init__(self, *, width: int, kernel: int) -> None:
        super().__init__()
        self.pointwise_conv1 = nn.Conv1d(width, 2 * width, 1)
        self.depthwise_conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.pointwise_conv2 = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """``x [B, T, C]``, ``valid [B, T]`` -> ``[B, T, C]``, zero on masked frames.

        Masked frames are zeroed after the gate: the bias before it would leak through the
        depthwise convolution into valid ones.
        """
        shown = valid[:, None]
        gated = F.glu(self.pointwise_conv1(x.transpose(1, 2)), dim=1) * shown
        local: Tensor = self.norm(self.depthwise_conv(gated).transpose(1, 2))
        mixed: Tensor = self.pointwise_conv2(F.silu(local).transpose(1, 2))
        return (mixed * shown).transpose(1, 2)


class FeedForward(nn.Module):
    """Two linear layers with SiLU between."""

    def __init__(self, *, width: int, hidden: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(width, hidden)
        self.w_2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, T, C]`` -> ``[B, T, C]``."""
        projected: Tensor = self.w_2(F.silu(self.w_1(x)))
        return projected


class ConformerBlock(nn.Module):
    """Attention, convolution, feed-forward, each with a norm before it and a residual around it."""

    def __init__(self, *, width: int, heads: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.self_attn = PositionedAttention(width=width, heads=heads)
        self.conv_module = ConvModule(width=width, kernel=kernel)
        self.feed_forward = FeedForward(width=width, hidden=hidden)
        self.norm_mha = nn.LayerNorm(width)
        self.norm_conv = nn.LayerNorm(width)
        self.norm_ff = nn.LayerNorm(width)
        self.norm_final = nn.LayerNorm(width)

    def forward(self, x: Tensor, positions: Tensor, valid: Tensor) -> Tensor:
        """``x [B, T, C]``, ``positions [1, T, C]``, ``valid [B, T]`` -> ``[B, T, C]``."""
        x = x + self.self_attn(self.norm_mha(x), positions, valid)
        x = x + self.conv_module(self.norm_conv(x), valid)
        x = x + self.feed_forward(self.norm_ff(x))
        normed: Tensor = self.norm_final(x)
        return normed


class Conformer(nn.Module):
    """Conformer encoder at half the frame rate of its input; padding never changes a valid frame.

    ``width`` must be even.
    """

    def __init__(
        self,
        *,
        in_features: int,
        width: int,
        heads: int,
        hidden: int,
        blocks: int,
        kernel: int = 15,
    ) -> None:
        super().__init__()
        self.width = width
        self.embed = Subsampling(in_features=in_features, width=width)
        self.encoders = nn.ModuleList(
            ConformerBlock(width=width, heads=heads, hidden=hidden, kernel=kernel)
            for _ in range(blocks)
        )
        self.after_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``x [B, T, in_features]`` of true ``lengths [B]`` (``None``: all of it).

        Gives states ``[B, (T - 1) // 2, width]`` and the bool mask ``[B, (T - 1) // 2]`` of those
        that count. Raises ``ValueError`` when ``T`` is below ``MIN_FRAMES``; every length must
        reach it too.
        """
        batch, frames, _ = x.shape
        if frames < MIN_FRAMES:
            raise ValueError(f"a conformer needs at least {MIN_FRAMES} frames, not {frames}")
        if lengths is None:
            lengths = torch.full((batch,), frames, device=x.device)
        valid = valid_frames(lengths, frames)[:, 2::2]
        hidden: Tensor = self.embed(x)
        positions = sinusoids(hidden.shape[1], self.width, hidden)
        for block in self.encoders:
            hidden = block(hidden, positions, valid)
        normed: Tensor = self.after_norm(hidden)
        return normed, valid
