"""BigVGAN 1: latents of the GPT and a speaker vector to sound (specification 6)."""

from __future__ import annotations

from torch import Tensor, nn

from indextts.blocks.bigvgan import Generator
from indextts.v1.config import VocoderConfig
from indextts.v1.ecapa import EcapaTdnn


class BigVGAN(Generator):
    """The generator with its speaker encoder: ``[B, gpt_dim, T] -> [B, 1, 1024 * T]``."""

    def __init__(self, config: VocoderConfig) -> None:
        width, stages = config.upsample_initial_channel, len(config.upsample_rates)
        super().__init__(
            channels=config.gpt_dim,
            width=width,
            rates=config.upsample_rates,
            kernels=config.upsample_kernel_sizes,
            block_kernels=config.resblock_kernel_sizes,
            block_dilations=config.resblock_dilation_sizes,
            bias_at_final=True,
            tanh_at_final=True,
        )
        speaker = config.speaker_embedding_dim
        self.speaker_encoder = EcapaTdnn(n_mels=config.num_mels, width=speaker)
        self.cond_layer = nn.Conv1d(speaker, width, 1)
        self.conds = nn.ModuleList(
            nn.Conv1d(speaker, width >> stage, 1) for stage in range(1, stages + 1)
        )

    def conditions(self, speaker: Tensor) -> list[Tensor]:
        """What a speaker vector ``[B, S, 1]`` adds to each stage, ``[B, C, 1]`` each."""
        return [layer(speaker) for layer in (self.cond_layer, *self.conds)]
