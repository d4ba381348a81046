"""The autoregressive model of IndexTTS 1 and its prompt (specification 4)."""

from __future__ import annotations

from torch import Tensor

from indextts.config import BaseGptConfig
from indextts.gpt.config import condition_sizes, gpt_sizes
from indextts.gpt.model import SpeakerGpt
from indextts.gpt.prompt import frame_text
from indextts.tensors import Prompt
from indextts.v1.config import Layout

SPEAKER_LATENTS = 32


class V1Gpt(SpeakerGpt):
    """``SpeakerGpt`` whose conditioning hears mel spectrograms; ``layout`` as configured."""

    def __init__(self, config: BaseGptConfig, *, n_mels: int, layout: Layout) -> None:
        speaker = condition_sizes(
            config.condition_module,
            in_features=n_mels,
            out_width=config.model_dim,
            latents=SPEAKER_LATENTS,
        )
        super().__init__(gpt_sizes(config, speaker))
        self.layout = layout

    def prompt(self, conds: Tensor, text_ids: Tensor) -> Prompt:
        """``conds [1, 32, C]``, ids int64 ``[1, L]`` -> ``[1, L + 35, C]``.

        Raises ``ValueError`` when there are more text tokens than positions for them.
        """
        return frame_text(self, conds, text_ids, stop_text=self.layout != "index_tts_vllm")

    def embed_codes(self, codes: Tensor, places: Tensor) -> Tensor:
        """As ``CodeGpt``: int64 ``[B, S]``, places ``[S]`` or ``[B, S]`` -> ``[B, S, C]``."""
        if self.layout == "upstream_cache":
            places = places + (places > 0)
        return super().embed_codes(codes, places)
