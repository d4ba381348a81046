"""BigVGAN v2: mel spectrogram to waveform (Lee et al., 2023, arXiv:2206.04658; specification 8)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, repeat

import torch
from torch import Tensor, nn

from indextts.blocks.alias_free import CONTEXT_SAMPLES, AntiAliasedSnakeBeta
from indextts.blocks.amp import AmpBlock
from indextts.tensors import Mel, Waveform
from indextts.v2.config import BigvganConfig

_EDGE_KERNEL = 7


class BigVGAN(nn.Module):
    """Generator with weight norm folded; ``hop`` samples per mel frame.

    ``context_frames`` is the exact receptive field on each side of a frame.
    """

    def __init__(self, config: BigvganConfig) -> None:
        super().__init__()
        width = config.upsample_initial_channel
        self.hop = math.prod(config.upsample_rates)
        self.conv_pre = nn.Conv1d(config.num_mels, width, _EDGE_KERNEL, padding="same")
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        stages = zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True)
        for rate, kernel in stages:
            if kernel < rate or (kernel - rate) % 2:
                raise ValueError(f"upsampling by {rate} cannot use kernel size {kernel}")
            padding = (kernel - rate) // 2
            self.ups.append(nn.ConvTranspose1d(width, width // 2, kernel, rate, padding))
            width //= 2
            kinds = zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True)
            self.resblocks.extend(
                AmpBlock(channels=width, kernel_size=size, dilations=dilations)
                for size, dilations in kinds
            )
        self.activation_post = AntiAliasedSnakeBeta(width)
        self.conv_post = nn.Conv1d(
            width, 1, _EDGE_KERNEL, padding="same", bias=config.use_bias_at_final
        )
        self._tanh = config.use_tanh_at_final
        self.context_frames = _context_frames(config, self.resblocks)

    def forward(self, mel: Tensor) -> Waveform:
        """``[B, n_mels, T] -> [B, 1, hop * T]`` in [-1, 1]."""
        x = self.conv_pre(mel)
        for stage in range(len(self.ups)):
            x = self.blend(stage, self.ups[stage](x))
        x = self.conv_post(self.activation_post(x))
        return Waveform(x.tanh() if self._tanh else x.clamp(-1.0, 1.0))

    def blend(self, stage: int, x: Tensor) -> Tensor:
        """Mean of the AMP blocks of one ``stage``, ``[B, C, T] -> [B, C, T]``."""
        count = len(self.resblocks) // len(self.ups)
        blocks = self.resblocks[stage * count : (stage + 1) * count]
        total: Tensor = sum(block(x) for block in blocks)
        return total / count

    def vocode_slices(
        self, mel: Mel, slice_frames: Sequence[int]
    ) -> Iterator[Callable[[], Waveform]]:
        """Work items whose waveforms, joined, equal ``forward(mel)``.

        Each item vocodes the next ``slice_frames`` frames (the last size repeats) with
        ``context_frames`` of context. Raises ``ValueError`` for a size below 1.
        """
        if not slice_frames or min(slice_frames) < 1:
            raise ValueError("slices need at least one frame")
        sizes = chain(slice_frames, repeat(slice_frames[-1]))
        start = 0
        while start < mel.shape[-1]:
            stop = min(start + next(sizes), mel.shape[-1])
            yield partial(self._vocode, mel, start, stop)
            start = stop

    @torch.no_grad()
    def _vocode(self, mel: Mel, start: int, stop: int) -> Waveform:
        """Samples of the frames ``start .. stop``, computed with exact context."""
        first = max(0, start - self.context_frames)
        wave = self(mel[..., first : stop + self.context_frames])
        return Waveform(wave[..., (start - first) * self.hop : (stop - first) * self.hop])


def _context_frames(config: BigvganConfig, resblocks: nn.ModuleList) -> int:
    """Receptive field on each side, followed from the last convolution back to the mel."""
    reach = _EDGE_KERNEL // 2 + CONTEXT_SAMPLES
    count = len(config.resblock_kernel_sizes)
    for stage in reversed(range(len(config.upsample_rates))):
        rate, kernel = config.upsample_rates[stage], config.upsample_kernel_sizes[stage]
        blocks = [b for b in resblocks[stage * count : (stage + 1) * count]]
        reach += max(b.context_samples for b in blocks if isinstance(b, AmpBlock))
        reach = (reach + (kernel + rate) // 2 - 1) // rate
    return reach + _EDGE_KERNEL // 2
