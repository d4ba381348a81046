"""A whole checkpoint of a few hundred kilobytes with random weights, in every layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import sentencepiece
import torch
import yaml
from safetensors.torch import save_file

from indextts.goldens.v2 import official_tensors
from indextts.v2.config import BigvganConfig, CheckpointConfig
from indextts.v2.networks import Networks, build_networks

FILL_PREFIX = {
    "cfm": "s2mel/cfm",
    "length_regulator": "s2mel/length_regulator",
    "gpt_layer": "s2mel/gpt_layer",
}

BIGVGAN: dict[str, Any] = {
    "num_mels": 80,
    "upsample_rates": [8, 8, 4],
    "upsample_kernel_sizes": [16, 16, 8],
    "upsample_initial_channel": 16,
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 3]],
}

CONFIG: dict[str, Any] = {
    "gpt": {
        "model_dim": 64,
        "layers": 2,
        "heads": 1,
        "max_text_tokens": 60,
        "max_mel_tokens": 200,
        "number_text_tokens": 64,
        "number_mel_codes": 34,
        "start_mel_token": 32,
        "stop_mel_token": 33,
        "condition_module": {
            "output_size": 16,
            "linear_units": 32,
            "attention_heads": 2,
            "num_blocks": 1,
        },
        "emo_condition_module": {
            "output_size": 16,
            "linear_units": 32,
            "attention_heads": 2,
            "num_blocks": 1,
        },
    },
    "semantic_codec": {
        "codebook_size": 32,
        "hidden_size": 32,
        "codebook_dim": 8,
        "vocos_dim": 16,
        "vocos_intermediate_dim": 32,
        "vocos_num_layers": 1,
    },
    "s2mel": {
        "style_encoder": {"dim": 24},
        "length_regulator": {"channels": 32, "in_channels": 32},
        "DiT": {
            "hidden_dim": 32,
            "num_heads": 2,
            "depth": 3,
            "in_channels": 80,
            "content_dim": 32,
        },
        "wavenet": {"hidden_dim": 32, "num_layers": 2, "kernel_size": 5},
    },
    "w2v_bert": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "used_layer": 1,
        "conv_depthwise_kernel_size": 5,
    },
    "campplus": {
        "head_channels": 4,
        "init_channels": 8,
        "bottleneck_channels": 8,
        "growth_rate": 4,
        "layers": [1, 1, 1],
        "embedding_size": 24,
    },
    "conditioning_input": {"width": 32, "emotion_width": 32},
    "gpt_layer": {"hidden": [16, 8]},
    "inference": {"cfm_steps": 2, "first_chunk_tokens": 20, "max_chunk_tokens": 50},
    "emo_num": [1, 2, 1, 1, 1, 1, 1, 1],
    "version": 2.0,
}

_WORDS = "the quick brown fox jumps over a lazy dog while seven wizards pack my jug of liquor"


def networks() -> tuple[CheckpointConfig, Networks]:
    config = CheckpointConfig.model_validate(CONFIG)
    return config, build_networks(config, BigvganConfig.model_validate(BIGVGAN))


def official_parts(built: Networks, salt: str = "tiny") -> dict[str, dict[str, torch.Tensor]]:
    parts = [part for part in Networks.__slots__ if part != "mel"]
    return {
        part: official_tensors(part, getattr(built, part), FILL_PREFIX.get(part, part), salt)
        for part in parts
    }


def write_tokenizer(root: Path) -> None:
    """One piece per character."""
    with (root / "bpe.model").open("wb") as out:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([_WORDS.upper() + " , . ? !"] * 20),
            model_writer=out,
            model_type="char",
            vocab_size=40,
            hard_vocab_limit=False,
            bos_id=0,
            eos_id=1,
            unk_id=2,
            minloglevel=2,
        )


def write_shared(root: Path) -> None:
    """Configuration, tokenizer, statistics and matrices: the same in every layout."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    write_tokenizer(root)
    generator = torch.Generator().manual_seed(7)
    torch.save({"mean": torch.zeros(32), "var": torch.ones(32)}, root / "wav2vec2bert_stats.pt")
    styles = torch.randn(9, 24, generator=generator).requires_grad_()
    torch.save(styles, root / "feat1.pt")
    torch.save(torch.randn(9, 64, generator=generator), root / "feat2.pt")


def write_official(root: Path) -> None:
    """As upstream lays it out: pickles, auxiliary models below hf_cache."""
    write_shared(root)
    parts = official_parts(networks()[1])
    cache = root / "hf_cache"
    (cache / "bigvgan").mkdir(parents=True)
    (cache / "w2v-bert-2.0").mkdir()
    torch.save({"model": parts["gpt"]}, root / "gpt.pth")
    net = {part: parts[part] for part in ("cfm", "length_regulator", "gpt_layer")}
    torch.save({"net": net, "epoch": 3, "iters": 4}, root / "s2mel.pth")
    save_file(parts["semantic_codec"], cache / "semantic_codec_model.safetensors")
    torch.save(parts["campplus"], cache / "campplus_cn_common.bin")
    torch.save({"generator": parts["bigvgan"]}, cache / "bigvgan" / "bigvgan_generator.pt")
    (cache / "bigvgan" / "config.json").write_text(json.dumps(BIGVGAN))
    save_file(parts["w2v_bert"], cache / "w2v-bert-2.0" / "model.safetensors")


def write_vllm(root: Path) -> None:
    """As the vLLM port lays it out: one self-contained folder."""
    write_shared(root)
    parts = official_parts(networks()[1])
    for folder in ("bigvgan", "w2v-bert-2.0", "semantic_codec", "campplus", "gpt"):
        (root / folder).mkdir()
    torch.save(parts["gpt"], root / "gpt.pth")
    net = {part: parts[part] for part in ("cfm", "length_regulator", "gpt_layer")}
    torch.save({"net": net}, root / "s2mel.pth")
    save_file(parts["semantic_codec"], root / "semantic_codec" / "model.safetensors")
    torch.save(parts["campplus"], root / "campplus" / "campplus_cn_common.bin")
    torch.save({"generator": parts["bigvgan"]}, root / "bigvgan" / "bigvgan_generator.pt")
    (root / "bigvgan" / "config.json").write_text(json.dumps(BIGVGAN))
    save_file(parts["w2v_bert"], root / "w2v-bert-2.0" / "model.safetensors")


def write_safetensors(root: Path) -> None:
    """As the embedded checkpoint is laid out: safetensors in 16 bit."""
    write_shared(root)
    config = dict(CONFIG, gpt_checkpoint="gpt.safetensors", s2mel_checkpoint="s2mel.safetensors")
    (root / "config.yaml").write_text(yaml.safe_dump(config))
    parts = official_parts(networks()[1])
    half = {p: {k: t.half().contiguous() for k, t in ts.items()} for p, ts in parts.items()}
    for folder in ("bigvgan", "w2v-bert-2.0", "semantic_codec", "campplus"):
        (root / folder).mkdir()
    save_file(half["gpt"], root / "gpt.safetensors")
    s2mel = {
        f"{part}.{key}": tensor
        for part in ("cfm", "length_regulator", "gpt_layer")
        for key, tensor in half[part].items()
    }
    save_file(s2mel, root / "s2mel.safetensors")
    save_file(half["semantic_codec"], root / "semantic_codec" / "model.safetensors")
    save_file(half["campplus"], root / "campplus" / "campplus_cn_common.safetensors")
    save_file(half["bigvgan"], root / "bigvgan" / "bigvgan_generator.safetensors")
    (root / "bigvgan" / "config.json").write_text(json.dumps(BIGVGAN))
    save_file(half["w2v_bert"], root / "w2v-bert-2.0" / "model.safetensors")
