"""The flow-matching estimator: a diffusion transformer with a WaveNet head (specification 7.3).

Sources: DiT (Peebles and Xie, 2023, arXiv:2212.09748), U-ViT's long skips (Bao et al., 2023,
arXiv:2209.12152), rotary positions (Su et al., 2021, arXiv:2104.09864), SwiGLU (Shazeer, 2020,
arXiv:2002.05202). What depends on the time alone (``TimeTerms``) is computed once per schedule,
what depends on the request alone (``prepare``) once per request.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from indextts.blocks.wavenet import PointwiseConv, WaveNet, Windows
from indextts.v2.config import S2melConfig

_FREQUENCIES = 128
_MAX_PERIOD = 10000.0
_TIME_SCALE = 1000.0
_ROTARY_BASE = 10000.0
_RMS_EPS = 1e-5
_LAYER_NORM_EPS = 1e-6
_FFN_MULTIPLE = 256


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TimeTerms:
    """Everything the estimator derives from ``N`` times.

    ``scale`` and ``shift`` ``[N, 2 * depth + 1, H]`` of the adaptive norms, ``wavenet`` ``[N,
    layers, 2H]``, ``final_scale`` and ``final_shift`` ``[N, H]``.
    """

    scale: Tensor
    shift: Tensor
    wavenet: Tensor
    final_scale: Tensor
    final_shift: Tensor

    def rows(self, index: Sequence[int]) -> TimeTerms:
        """The terms of some of the times, one for each row; a single one serves all rows."""
        chosen = [index[0]] if len(set(index)) == 1 else list(index)
        return TimeTerms(
            scale=self.scale[chosen],
            shift=self.shift[chosen],
            wavenet=self.wavenet[chosen],
            final_scale=self.final_scale[chosen],
            final_shift=self.final_shift[chosen],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowLayout:
    """Positions and edges of right-padded rows.

    ``rotation`` ``[T, 1, head_dim / 2, 2]`` holds cosines and sines; ``key_mask`` ``[B, 1, 1,
    T]`` is absent when no row is padded. Nothing after the last attention's keys is computed for
    frames before ``first``; ``windows`` are those of the frames from there on.
    """

    rotation: Tensor
    key_mask: Tensor | None
    first: int
    windows: Windows


class TimeEmbedding(nn.Module):
    """Sinusoids of the time through two Linear layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first = nn.Linear(2 * _FREQUENCIES, width)
        self.mlp = nn.Sequential(first, nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        """``t [N]`` in [0, 1] -> ``[N, H]``."""
        steps = torch.arange(_FREQUENCIES, dtype=torch.float32, device=t.device)
        frequencies = torch.exp(-math.log(_MAX_PERIOD) * steps / _FREQUENCIES)
        angles = _TIME_SCALE * t.float().unsqueeze(1) * frequencies
        waves = torch.cat((angles.cos(), angles.sin()), dim=-1)
        embedded: Tensor = self.mlp(waves.to(next(self.parameters())))
        return embedded


class AdaptiveNorm(nn.Module):
    """RMS norm whose scale and shift are linear in the time embedding."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project_layer = nn.Linear(width, 2 * width)
        self.norm = nn.RMSNorm(width, eps=_RMS_EPS)

    def terms(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Time embedding ``[N, H]`` -> scale and shift ``[N, H]``, the norm's weight included."""
        weight, bias = self.project_layer(t).chunk(2, dim=-1)
        return weight * self.norm.weight, bias

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """``x [B, T, H]``, ``scale`` and ``shift`` ``[B or 1, H]`` -> ``[B, T, H]``."""
        normed = F.rms_norm(x, x.shape[-1:], eps=_RMS_EPS)
        return torch.addcmul(shift.unsqueeze(1), normed, scale.unsqueeze(1))


class Attention(nn.Module):
    """Bidirectional attention with rotary positions on interleaved pairs."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.wqkv = nn.Linear(width, 3 * width, bias=False)
        self.wo = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, layout: RowLayout, first: int) -> Tensor:
        """``[B, T, H] -> [B, T - first, H]``: only the frames from ``first`` on ask."""
        batch, frames, width = x.shape
        q = F.linear(x[:, first:], self.wqkv.weight[:width])
        q = q.view(batch, frames - first, self.heads, -1)
        kv = F.linear(x, self.wqkv.weight[width:]).view(batch, frames, 2 * self.heads, -1)
        k, v = kv.chunk(2, dim=2)
        q, k = _rotate(q, layout.rotation[first:]), _rotate(k, layout.rotation)
        mixed = F.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=layout.key_mask
        )
        out: Tensor = self.wo(mixed.transpose(1, 2).flatten(2))
        return out


def _rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn the interleaved channel pairs of ``[B, T, heads, head_dim]``, in float32.

    Real arithmetic, because not every accelerator multiplies complex numbers.
    """
    even, odd = x.float().view(*x.shape[:-1], -1, 2).unbind(-1)
    cos, sin = rotation.unbind(-1)
    turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
    return turned.flatten(-2).to(x.dtype)


class FeedForward(nn.Module):
    """SwiGLU with 8/3 of the width, rounded up to a multiple of 256."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = math.ceil(int(8 * width / 3) / _FFN_MULTIPLE) * _FFN_MULTIPLE
        self.w1 = nn.Linear(width, inner, bias=False)
        self.w2 = nn.Linear(inner, width, bias=False)
        self.w3 = nn.Linear(width, inner, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, T, H] -> [B, T, H]``."""
        out: Tensor = self.w2(F.silu(self.w1(x)) * self.w3(x))
        return out


class DitBlock(nn.Module):
    """Attention and feed-forward, each after an adaptive norm; upper blocks take a long skip."""

    def __init__(self, *, width: int, heads: int, takes_skip: bool) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.feed_forward = FeedForward(width)
        self.attention_norm = AdaptiveNorm(width)
        self.ffn_norm = AdaptiveNorm(width)
        self.skip_in_linear = nn.Linear(2 * width, width) if takes_skip else None
        self.register_load_state_dict_pre_hook(_leave_out_unused_skip)  # type: ignore[no-untyped-call]

    def forward(
        self,
        x: Tensor,
        skip: Tensor | None,
        scale: Tensor,
        shift: Tensor,
        layout: RowLayout,
        first: int,
    ) -> Tensor:
        """``x`` and ``skip`` ``[B, T, H]``, ``scale`` and ``shift`` ``[B or 1, 2, H]`` -> ``[B, T
        - first, H]``.
        """
        if self.skip_in_linear is not None and skip is not None:
            x = self.skip_in_linear(torch.cat((x, skip), dim=-1))
        normed = self.attention_norm(x, scale[:, 0], shift[:, 0])
        x = x[:, first:] + self.attention(normed, layout, first)
        out: Tensor = x + self.feed_forward(self.ffn_norm(x, scale[:, 1], shift[:, 1]))
        return out


def _leave_out_unused_skip(
    module: nn.Module, state: dict[str, Tensor], prefix: str, *_: Mapping[str, object]
) -> None:
    """Official checkpoints hold a skip matrix for every block, also where none is taken."""
    if isinstance(module, DitBlock) and module.skip_in_linear is None:
        for leaf in ("weight", "bias"):
            state.pop(f"{prefix}skip_in_linear.{leaf}", None)


class Transformer(nn.Module):
    """Blocks with U-shaped skips from the lower half to the upper half."""

    def __init__(self, *, width: int, heads: int, depth: int, skips: bool) -> None:
        super().__init__()
        self.skips = skips
        self.layers = nn.ModuleList(
            DitBlock(width=width, heads=heads, takes_skip=skips and i > depth // 2)
            for i in range(depth)
        )
        self.norm = AdaptiveNorm(width)

    def terms(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Time embedding ``[N, H]`` -> scale and shift of all norms ``[N, 2 * depth + 1, H]``."""
        norms = [module for module in self.modules() if isinstance(module, AdaptiveNorm)]
        pairs = [norm.terms(t) for norm in norms]
        return torch.stack([s for s, _ in pairs], dim=1), torch.stack([b for _, b in pairs], dim=1)

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor, layout: RowLayout) -> Tensor:
        """``[B, T, H] -> [B, T - layout.first, H]``."""
        half = len(self.layers) // 2
        below: list[Tensor] = []
        for i, block in enumerate(self.layers):
            skip = below.pop() if self.skips and i > half else None
            norms = slice(2 * i, 2 * i + 2)
            first = layout.first if i == len(self.layers) - 1 else 0
            x = block(x, skip, scale[:, norms], shift[:, norms], layout, first)
            if i < half:
                below.append(x)
        out: Tensor = self.norm(x, scale[:, -1], shift[:, -1])
        return out


class FinalLayer(nn.Module):
    """LayerNorm without parameters, modulated by the time, then a Linear layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def terms(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Time embedding ``[N, H]`` -> scale (one added) and shift ``[N, H]``."""
        shift, scale = self.adaLN_modulation(t).chunk(2, dim=-1)
        return 1 + scale, shift

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """``x [B, T, H]``, ``scale`` and ``shift`` ``[B or 1, H]`` -> ``[B, T, H]``."""
        normed = F.layer_norm(x, x.shape[-1:], eps=_LAYER_NORM_EPS)
        out: Tensor = self.linear(torch.addcmul(shift.unsqueeze(1), normed, scale.unsqueeze(1)))
        return out


class DiT(nn.Module):
    """Velocity of the noisy mel, given prompt, style and code conditions.

    Raises ``ValueError`` for configurations that have no meaning here.
    """

    def __init__(self, config: S2melConfig) -> None:
        super().__init__()
        dit, wavenet = config.dit, config.wavenet
        if dit.hidden_dim != wavenet.hidden_dim:
            raise ValueError("DiT.hidden_dim and wavenet.hidden_dim differ")
        if wavenet.dilation_rate != 1:
            raise ValueError("wavenet.dilation_rate must be 1")
        if dit.hidden_dim % (2 * dit.num_heads):
            raise ValueError("DiT.hidden_dim does not split into heads of even width")
        width, self.mel_channels = dit.hidden_dim, dit.in_channels
        self.head_dim = width // dit.num_heads
        self.t_embedder = TimeEmbedding(width)
        self.t_embedder2 = TimeEmbedding(width)
        self.cond_projection = nn.Linear(dit.content_dim, width)
        merged = 2 * dit.in_channels + width + config.style_encoder.dim
        self.cond_x_merge_linear = nn.Linear(merged, width)
        self.transformer = Transformer(
            width=width, heads=dit.num_heads, depth=dit.depth, skips=dit.uvit_skip_connection
        )
        self.skip_linear = (
            nn.Linear(width + dit.in_channels, width) if dit.long_skip_connection else None
        )
        self.conv1 = nn.Linear(width, width)
        self.wavenet = WaveNet(
            channels=width, layers=wavenet.num_layers, kernel_size=wavenet.kernel_size
        )
        self.res_projection = nn.Linear(width, width)
        self.final_layer = FinalLayer(width)
        self.conv2 = PointwiseConv(width, dit.in_channels)

    def time_terms(self, t: Tensor) -> TimeTerms:
        """Terms of the times ``t [N]``."""
        t1, t2 = self.t_embedder(t), self.t_embedder2(t)
        scale, shift = self.transformer.terms(t1)
        final_scale, final_shift = self.final_layer.terms(t1)
        return TimeTerms(
            scale=scale,
            shift=shift,
            wavenet=self.wavenet.conditions(t2),
            final_scale=final_scale,
            final_shift=final_shift,
        )

    def layout(self, lengths: Sequence[int], prompt_frames: int = 0) -> RowLayout:
        """Layout of rows with ``lengths``, right-padded to the longest.

        No velocity is wanted for the first ``prompt_frames`` of the rows.
        """
        device, frames = self.conv1.weight.device, max(lengths)
        first = max(0, prompt_frames - self.wavenet.reach_frames)
        rows = torch.tensor(lengths)
        position = torch.arange(frames, dtype=torch.float32)
        pair = torch.arange(0, self.head_dim, 2, dtype=torch.float32)
        angle = torch.outer(position, _ROTARY_BASE ** (-pair / self.head_dim)).unsqueeze(1)
        valid = (position < rows.unsqueeze(1)).view(len(lengths), 1, 1, frames)
        return RowLayout(
            rotation=torch.stack((angle.cos(), angle.sin()), dim=-1).to(device),
            key_mask=valid.to(device) if min(lengths) < frames else None,
            first=first,
            windows=self.wavenet.windows(rows - first, frames - first),
        )

    def prepare(self, mu: Tensor, prompt: Tensor, style: Tensor) -> Tensor:
        """Constant part of the input layer for ``mu [B, T, content]``, ``prompt [B, mel, T]``
        (zero after the prompt), ``style [B, S]`` -> ``[B, T, H]``.
        """
        cond = self.cond_projection(mu)
        parts = (prompt.transpose(1, 2), cond, style.unsqueeze(1).expand(-1, cond.shape[1], -1))
        weight = self.cond_x_merge_linear.weight[:, self.mel_channels :]
        return F.linear(torch.cat(parts, dim=-1), weight, self.cond_x_merge_linear.bias)

    def unconditional(self) -> Tensor:
        """What ``prepare`` gives for zeros, ``[1, 1, H]``: the same for every frame."""
        first = 2 * self.mel_channels
        weight = self.cond_x_merge_linear.weight[:, first : first + self.conv1.in_features]
        term = F.linear(self.cond_projection.bias, weight, self.cond_x_merge_linear.bias)
        return term.view(1, 1, -1)

    def velocity(self, x: Tensor, context: Tensor, time: TimeTerms, layout: RowLayout) -> Tensor:
        """``x [B, mel, T]``, ``context [B, T, H]`` from ``prepare`` -> ``[B, mel, T - first]``.

        Frames beyond a row's length, or of the prompt that ``layout`` was made with, hold nothing
        of meaning.
        """
        noisy = x.transpose(1, 2)
        h = context + F.linear(noisy, self.cond_x_merge_linear.weight[:, : self.mel_channels])
        h = self.transformer(h, time.scale, time.shift, layout)
        if self.skip_linear is not None:
            h = self.skip_linear(torch.cat((h, noisy[:, layout.first :]), dim=-1))
        y = self.wavenet(self.conv1(h), time.wavenet, layout.windows) + self.res_projection(h)
        y = self.final_layer(y, time.final_scale, time.final_shift)
        velocity: Tensor = self.conv2(y)
        return velocity.transpose(1, 2)

    def forward(
        self,
        x: Tensor,
        prompt: Tensor,
        lengths: Sequence[int],
        t: Tensor,
        mu: Tensor,
        style: Tensor,
    ) -> Tensor:
        """One evaluation: ``x`` and ``prompt`` ``[B, mel, T]``, ``t [B]``, ``mu [B, T,
        content]``, ``style [B, S]``, the longest of ``lengths`` is ``T`` -> ``[B, mel, T]``.
        """
        context = self.prepare(mu, prompt, style)
        return self.velocity(x, context, self.time_terms(t), self.layout(lengths))
