"""The w2v-BERT 2.0 encoder, as deep as it is used (specification 4.6; Chung et al. 2021).

The layers are those of transformers' ``Wav2Vec2BertModel``, whose names the state dict keeps.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from indextts.tensors import Features

_LAYER = re.compile(r"^encoder\.layers\.(\d+)\.")


class W2vBert(nn.Module):
    """Filter banks to normalised features, 50 per second.

    ``set_stats`` gives the normalisation of the checkpoint; before it, features pass unchanged.
    """

    mean: Tensor
    var: Tensor

    def __init__(
        self,
        *,
        hidden_size: int = 1024,
        num_hidden_layers: int = 24,
        num_attention_heads: int = 16,
        intermediate_size: int = 4096,
        feature_projection_input_dim: int = 160,
        left_max_position_embeddings: int = 64,
        right_max_position_embeddings: int = 8,
        conv_depthwise_kernel_size: int = 31,
        used_layer: int = 17,
    ) -> None:
        super().__init__()
        # transformers takes seconds to import: only who listens to a recording pays for it.
        from transformers import Wav2Vec2BertConfig
        from transformers.models.wav2vec2_bert.modeling_wav2vec2_bert import Wav2Vec2BertModel

        self.layers = min(used_layer, num_hidden_layers)
        config = Wav2Vec2BertConfig(
            hidden_size=hidden_size,
            num_hidden_layers=self.layers,
            num_attention_heads=num_attention_heads,
            intermediate_size=intermediate_size,
            feature_projection_input_dim=feature_projection_input_dim,
            left_max_position_embeddings=left_max_position_embeddings,
            right_max_position_embeddings=right_max_position_embeddings,
            conv_depthwise_kernel_size=conv_depthwise_kernel_size,
            position_embeddings_type="relative_key",
            apply_spec_augment=False,
            mask_time_prob=0.0,
            layerdrop=0.0,
            hidden_dropout=0.0,
            attention_dropout=0.0,
            activation_dropout=0.0,
            feat_proj_dropout=0.0,
            conformer_conv_dropout=0.0,
        )
        model = Wav2Vec2BertModel(config)
        self.feature_projection = model.feature_projection
        self.encoder = model.encoder
        self.register_buffer("mean", torch.zeros(hidden_size), persistent=False)
        self.register_buffer("var", torch.ones(hidden_size), persistent=False)

    def set_stats(self, mean: Tensor, var: Tensor) -> None:
        """Normalise by ``mean`` and ``var``, both ``[hidden_size]``."""
        if mean.shape != self.mean.shape or var.shape != self.var.shape:
            raise ValueError(f"w2v-BERT statistics must have shape {tuple(self.mean.shape)}")
        device = self.feature_projection.projection.weight.device
        self.mean, self.var = mean.detach().float().to(device), var.detach().float().to(device)

    def keeps(self, key: str) -> bool:
        """Whether the tensor ``key`` of the official file is needed: not the later layers."""
        layer = _LAYER.match(key)
        return key != "masked_spec_embed" and (layer is None or int(layer[1]) < self.layers)

    def hidden(self, input_features: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """The used hidden state before normalisation: ``[B, T, 160]`` -> ``[B, T, width]``."""
        projected, _ = self.feature_projection(input_features)
        out: Tensor = self.encoder(projected, attention_mask=attention_mask).last_hidden_state
        return out

    def forward(self, input_features: Tensor, attention_mask: Tensor | None = None) -> Features:
        """``[B, T, 160]`` and mask ``[B, T]`` -> ``[B, T, width]``."""
        return normalize(self.hidden(input_features, attention_mask), self.mean, self.var)


def normalize(hidden: Tensor, mean: Tensor, var: Tensor) -> Features:
    """``[B, T, width]`` less the mean, over the standard deviation of the checkpoint."""
    return Features((hidden - mean) / torch.sqrt(var))
