"""Stage ``export``: write the trained parts as a checkpoint folder with the official names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from indextts.v2.networks import build_networks
from indextts.v2.weights import convert
from training.emotions import emotion_rows
from training.settings import Recipe
from training.stages import weights
from training.text import Pieces

GPT2_TRANSPOSED = re.compile(r"\.(c_attn|c_proj|c_fc)\.weight$")
OFFICIAL: dict[str, tuple[tuple[str, str], ...]] = {
    "cfm": (
        (r"^", "estimator."),
        (r"(wavenet\.(?:cond_layer|(?:in_layers|res_skip_layers)\.\d+))\.", r"\1.conv.conv."),
    ),
    "bigvgan": (
        (r"^ups\.(\d+)\.", r"ups.\1.0."),
        (r"(activations\.\d+|activation_post)\.(alpha|beta)$", r"\1.act.\2"),
    ),
}
"""Part -> rules from our names to the official ones; the reverse of indextts.v2.weights."""


def official(part: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``state`` of our module under official names; ``ValueError`` if it cannot be read back."""
    named = {}
    for key, tensor in state.items():
        for pattern, replacement in OFFICIAL.get(part, ()):
            key = re.sub(pattern, replacement, key, count=1)
        turned = part == "gpt" and GPT2_TRANSPOSED.search(key)
        named[key] = tensor.t().contiguous() if turned else tensor
    back = convert(part, named)
    if set(back) != set(state) or any(back[k].shape != state[k].shape for k in state):
        raise ValueError(f"the weights of {part} do not survive the official names")
    return named


def _half(tensors: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    return {
        prefix + key: (t.half() if t.is_floating_point() else t).contiguous()
        for key, t in tensors.items()
    }


def _silent_gpt_layer(module: nn.Module) -> dict[str, Tensor]:
    """The GPT's latents add nothing in this version."""
    return {key: torch.zeros_like(tensor) for key, tensor in module.state_dict().items()}


def trained_parts(runs: Path) -> dict[str, dict[str, Tensor]]:
    """The weights of every trained part; those of ``joint`` where it has run."""
    joint = (runs / "joint.pt").exists()
    s2mel, s2mel_prefix = ("joint", "s2mel.") if joint else ("s2mel", "")
    vocoder, vocoder_prefix = ("joint", "vocoder.") if joint else ("vocoder", "")
    return {
        "gpt": weights(runs, "gpt"),
        "cfm": weights(runs, s2mel, f"{s2mel_prefix}estimator."),
        "length_regulator": weights(runs, s2mel, f"{s2mel_prefix}length_regulator."),
        "bigvgan": weights(runs, vocoder, vocoder_prefix),
        "semantic_codec": weights(runs, "encoder", "codec."),
        "w2v_bert": weights(runs, "encoder", "w2v_bert."),
        "campplus": weights(runs, "speaker", "encoder."),
    }


def export(runs: Path, target: Path, recipe: Recipe) -> int:
    """Write every file of the checkpoint but its card; returns the bytes of the weights."""
    pieces = Pieces(runs / "bpe.model")
    config = recipe.checkpoint_config(pieces.size)
    networks = build_networks(config, recipe.bigvgan_config())
    trained = trained_parts(runs) | {"gpt_layer": _silent_gpt_layer(networks.gpt_layer)}
    files: dict[str, dict[str, Tensor]] = {
        "gpt.safetensors": _half(official("gpt", trained["gpt"])),
        "s2mel.safetensors": {
            name: tensor
            for part in ("cfm", "length_regulator", "gpt_layer")
            for name, tensor in _half(official(part, trained[part]), f"{part}.").items()
        },
        "bigvgan/bigvgan_generator.safetensors": _half(official("bigvgan", trained["bigvgan"])),
        "semantic_codec/model.safetensors": _half(trained["semantic_codec"]),
        "campplus/campplus_cn_common.safetensors": _half(trained["campplus"]),
        "w2v-bert-2.0/model.safetensors": _half(trained["w2v_bert"]),
        **_matrices(
            config.gpt.model_dim,
            len(config.emo_num),
            config.w2v_bert.hidden_size,
            config.campplus.embedding_size,
        ),
    }
    for name, tensors in files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, target / name)
        (target / name).chmod(0o644)
    _write_settings(target, runs, recipe, pieces.size)
    return sum((target / name).stat().st_size for name in files)


def _matrices(width: int, emotions: int, features: int, style: int) -> dict[str, dict[str, Tensor]]:
    """Speaker rows to choose emotions by, the emotions, features left as they are."""
    generator = torch.Generator().manual_seed(8)
    speakers = nn.functional.normalize(torch.randn(emotions, style, generator=generator))
    return {
        "feat1.safetensors": {"tensor": speakers.half()},
        "feat2.safetensors": {"tensor": emotion_rows(width)[:emotions].half()},
        "wav2vec2bert_stats.safetensors": {
            "mean": torch.zeros(features),
            "var": torch.ones(features),
        },
    }


def _write_settings(target: Path, runs: Path, recipe: Recipe, text_tokens: int) -> None:
    sections = recipe.sections(text_tokens)
    written = yaml.safe_dump(sections, sort_keys=False)
    (target / "config.yaml").write_text(written, encoding="utf-8")
    (target / "bpe.model").write_bytes((runs / "bpe.model").read_bytes())
    folders = {"bigvgan": recipe.bigvgan, "w2v-bert-2.0": recipe.checkpoint["w2v_bert"]}
    for folder, settings in folders.items():
        text = json.dumps(settings, indent=2) + "\n"
        (target / folder / "config.json").write_text(text, encoding="utf-8")
