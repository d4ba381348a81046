"""The generator of BigVGAN (Lee et al., 2023, arXiv:2206.04658): features to samples.

Specification 8 of IndexTTS-2, section 6 of IndexTTS 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, repeat

import torch
from torch import Tensor, nn

from indextts.blocks.alias_free import CONTEXT_SAMPLES, AntiAliasedSnakeBeta
from indextts.blocks.amp import AmpBlock
from indextts.tensors import Waveform

_EDGE_KERNEL = 7


class Generator(nn.Module):
    """Weight norm folded; ``hop`` samples per input frame.

    ``context_frames`` is the exact receptive field on each side of a frame. ``conditions`` of its
    methods are offsets ``[B, width, 1]``: of the first convolution, then of each upsampling.
    """

    def __init__(
        self,
        *,
        channels: int,
        width: int,
        rates: Sequence[int],
        kernels: Sequence[int],
        block_kernels: Sequence[int],
        block_dilations: Sequence[Sequence[int]],
        bias_at_final: bool,
        tanh_at_final: bool,
    ) -> None:
        super().__init__()
        self.hop = math.prod(rates)
        self.conv_pre = nn.Conv1d(channels, width, _EDGE_KERNEL, padding="same")
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        for rate, kernel in zip(rates, kernels, strict=True):
            if kernel < rate or (kernel - rate) % 2:
                raise ValueError(f"upsampling by {rate} cannot use kernel size {kernel}")
            padding = (kernel - rate) // 2
            self.ups.append(nn.ConvTranspose1d(width, width // 2, kernel, rate, padding))
            width //= 2
            self.resblocks.extend(
                AmpBlock(channels=width, kernel_size=size, dilations=dilations)
                for size, dilations in zip(block_kernels, block_dilations, strict=True)
            )
        self.activation_post = AntiAliasedSnakeBeta(width)
        self.conv_post = nn.Conv1d(width, 1, _EDGE_KERNEL, padding="same", bias=bias_at_final)
        self._tanh = tanh_at_final
        self.context_frames = self._reach(list(zip(rates, kernels, strict=True)))

    def forward(self, frames: Tensor, conditions: Sequence[Tensor] = ()) -> Waveform:
        """``[B, channels, T] -> [B, 1, hop * T]`` in [-1, 1]."""
        x = self.conv_pre(frames)
        x = x + conditions[0] if conditions else x
        for stage in range(len(self.ups)):
            x = self.ups[stage](x)
            x = x + conditions[stage + 1] if conditions else x
            x = self.blend(stage, x)
        x = self.conv_post(self.activation_post(x))
        return Waveform(x.tanh() if self._tanh else x.clamp(-1.0, 1.0))

    def blend(self, stage: int, x: Tensor) -> Tensor:
        """Mean of the AMP blocks of one ``stage``, ``[B, C, T] -> [B, C, T]``."""
        count = len(self.resblocks) // len(self.ups)
        blocks = self.resblocks[stage * count : (stage + 1) * count]
        total: Tensor = sum(block(x) for block in blocks)
        return total / count

    def vocode_slices(
        self, frames: Tensor, slice_frames: Sequence[int], conditions: Sequence[Tensor] = ()
    ) -> Iterator[Callable[[], Waveform]]:
        """Work items whose waveforms, joined, equal ``forward(frames)``.

        Each item vocodes the next ``slice_frames`` frames (the last size repeats). Raises
        ``ValueError`` for a size below 1.
        """
        if not slice_frames or min(slice_frames) < 1:
            raise ValueError("slices need at least one frame")
        sizes = chain(slice_frames, repeat(slice_frames[-1]))
        start = 0
        while start < frames.shape[-1]:
            stop = min(start + next(sizes), frames.shape[-1])
            yield partial(self.vocode_slice, frames, start, stop, conditions)
            start = stop

    @torch.no_grad()
    def vocode_slice(
        self, frames: Tensor, start: int, stop: int, conditions: Sequence[Tensor] = ()
    ) -> Waveform:
        """Samples of the frames ``start .. stop``: those of ``forward`` over an input that goes on
        in any way after ``stop + context_frames``.
        """
        first = max(0, start - self.context_frames)
        wave = self(frames[..., first : stop + self.context_frames], conditions)
        return Waveform(wave[..., (start - first) * self.hop : (stop - first) * self.hop])

    def _reach(self, stages: Sequence[tuple[int, int]]) -> int:
        """Receptive field on each side, from the last convolution back to the input."""
        reach = _EDGE_KERNEL // 2 + CONTEXT_SAMPLES
        count = len(self.resblocks) // len(stages)
        for stage in reversed(range(len(stages))):
            rate, kernel = stages[stage]
            blocks = self.resblocks[stage * count : (stage + 1) * count]
            reach += max(b.context_samples for b in blocks if isinstance(b, AmpBlock))
            reach = (reach + (kernel + rate) // 2 - 1) // rate
        return reach + _EDGE_KERNEL // 2
