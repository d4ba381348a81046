"""BigVGAN v2: mel spectrogram to waveform (specification 8)."""

from __future__ import annotations

from indextts.blocks.bigvgan import Generator
from indextts.v2.config import BigvganConfig


class BigVGAN(Generator):
    """The generator at the sizes of bigvgan/config.json: ``[B, n_mels, T] -> [B, 1, hop * T]``."""

    def __init__(self, config: BigvganConfig) -> None:
        super().__init__(
            channels=config.num_mels,
            width=config.upsample_initial_channel,
            rates=config.upsample_rates,
            kernels=config.upsample_kernel_sizes,
            block_kernels=config.resblock_kernel_sizes,
            block_dilations=config.resblock_dilation_sizes,
            bias_at_final=config.use_bias_at_final,
            tanh_at_final=config.use_tanh_at_final,
        )
