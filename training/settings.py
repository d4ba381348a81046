"""Dimensions of the checkpoint ``nano``: the one place that decides them."""

from __future__ import annotations

from typing import Any

from indextts.v2.config import BigvganConfig, CheckpointConfig

PHONES = 128
"""Phone symbols the codes have room for; each has two codes."""
CODES = 2 * PHONES
FEATURES = 128
"""Width of the w2v-BERT features and of the codec."""

BIGVGAN: dict[str, Any] = {
    "num_mels": 80,
    "upsample_rates": [8, 4, 4, 2],
    "upsample_kernel_sizes": [16, 8, 8, 4],
    "upsample_initial_channel": 256,
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 3]],
    "use_tanh_at_final": False,
    "use_bias_at_final": False,
}
"""bigvgan/config.json."""

W2V_BERT: dict[str, Any] = {
    "hidden_size": FEATURES,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 384,
    "feature_projection_input_dim": 160,
    "left_max_position_embeddings": 64,
    "right_max_position_embeddings": 8,
    "conv_depthwise_kernel_size": 31,
    "used_layer": 4,
}


def checkpoint_sections(text_tokens: int) -> dict[str, Any]:
    """config.yaml of nano for a vocabulary of ``text_tokens`` pieces."""
    return {
        "gpt": {
            "model_dim": 192,
            "layers": 6,
            "heads": 3,
            "max_text_tokens": 250,
            "max_mel_tokens": 800,
            "number_text_tokens": text_tokens,
            "number_mel_codes": CODES + 2,
            "start_text_token": 0,
            "stop_text_token": 1,
            "start_mel_token": CODES,
            "stop_mel_token": CODES + 1,
            "condition_module": {
                "output_size": 96,
                "linear_units": 192,
                "attention_heads": 2,
                "num_blocks": 2,
                "perceiver_mult": 2,
            },
            "emo_condition_module": {
                "output_size": 64,
                "linear_units": 128,
                "attention_heads": 2,
                "num_blocks": 1,
                "perceiver_mult": 2,
            },
        },
        "semantic_codec": {
            "codebook_size": CODES,
            "hidden_size": FEATURES,
            "codebook_dim": 64,
            "vocos_dim": 96,
            "vocos_intermediate_dim": 288,
            "vocos_num_layers": 3,
        },
        "s2mel": {
            "preprocess_params": {
                "sr": 22050,
                "spect_params": {
                    "n_fft": 1024,
                    "win_length": 1024,
                    "hop_length": 256,
                    "n_mels": 80,
                    "fmin": 0,
                    "fmax": "None",
                },
            },
            "style_encoder": {"dim": 192},
            "length_regulator": {"channels": 192, "in_channels": FEATURES},
            "DiT": {
                "hidden_dim": 192,
                "num_heads": 3,
                "depth": 4,
                "in_channels": 80,
                "content_dim": 192,
            },
            "wavenet": {"hidden_dim": 192, "num_layers": 2, "kernel_size": 5, "dilation_rate": 1},
        },
        "vocoder": {"type": "bigvgan", "name": "bigvgan"},
        "w2v_bert": W2V_BERT,
        "campplus": {
            "head_channels": 8,
            "init_channels": 32,
            "bottleneck_channels": 32,
            "growth_rate": 8,
            "layers": [4, 6, 4],
            "dilations": [1, 2, 2],
            "embedding_size": 192,
        },
        "conditioning_input": {"width": FEATURES, "emotion_width": FEATURES},
        "gpt_layer": {"hidden": [64, 64]},
        "inference": {
            "cfm_steps": 10,
            "cfm_temperature": 0.55,
            "prompt_s": 3.0,
            "cfg_rate": 0.5,
            "cfg_cache_interval": 1,
            "temperature": 0.3,
            "top_k": 10,
            "top_p": 0.9,
            "repetition_penalty": 1.0,
            "max_codes_per_text_token": 12.0,
            "fold_unknown_letters": True,
            "first_chunk_tokens": 40,
            "max_chunk_tokens": 70,
            "tokens_per_second": 14.0,
        },
        "emo_num": [1, 1, 1, 1, 1, 1, 1, 1],
        "gpt_checkpoint": "gpt.safetensors",
        "s2mel_checkpoint": "s2mel.safetensors",
        "w2v_stat": "wav2vec2bert_stats.safetensors",
        "emo_matrix": "feat2.safetensors",
        "spk_matrix": "feat1.safetensors",
        "version": 2.0,
    }


def checkpoint_config(text_tokens: int) -> CheckpointConfig:
    """The same, parsed."""
    return CheckpointConfig.model_validate(checkpoint_sections(text_tokens))


def bigvgan_config() -> BigvganConfig:
    """Dimensions of the vocoder."""
    return BigvganConfig.model_validate(BIGVGAN)
