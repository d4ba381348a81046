"""Every layout gives the same networks, and what is wrong with a checkpoint is said by name."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from indextts.checkpoint import CheckpointError, find_checkpoint
from indextts.loading import LoadedCheckpoint, build_model, load_checkpoint
from indextts.v2.networks import Networks
from streaming.worker import DeviceWorker
from tests.indextts.tiny_checkpoint import write_official, write_safetensors, write_vllm

CPU = torch.device("cpu")
LAYOUTS: dict[str, Callable[[Path], None]] = {
    "official": write_official,
    "vllm": write_vllm,
    "safetensors": write_safetensors,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    roots = {name: tmp_path_factory.mktemp(name) / "model" for name in LAYOUTS}
    for name, root in roots.items():
        LAYOUTS[name](root)
    return roots


def state(checkpoint: LoadedCheckpoint) -> dict[str, torch.Tensor]:
    return {
        f"{part}.{key}": tensor
        for part in Networks.__slots__
        for key, tensor in getattr(checkpoint.networks, part).state_dict().items()
    }


def test_layouts_load_to_the_same_networks(folders: dict[str, Path]) -> None:
    official = state(load_checkpoint(folders["official"], device=CPU))
    vllm = state(load_checkpoint(folders["vllm"], device=CPU))
    half = state(load_checkpoint(folders["safetensors"], device=CPU))
    assert official.keys() == vllm.keys() == half.keys() and official
    for key, tensor in official.items():
        assert torch.equal(tensor, vllm[key]), key
        assert half[key].dtype == tensor.dtype
        torch.testing.assert_close(half[key], tensor, atol=3e-3, rtol=3e-3)


def test_networks_are_ready_to_infer(folders: dict[str, Path]) -> None:
    loaded = load_checkpoint(folders["official"], device=CPU)
    parameters = [
        p for part in Networks.__slots__ for p in getattr(loaded.networks, part).parameters()
    ]
    assert parameters and not any(p.requires_grad or p.is_meta for p in parameters)
    assert not loaded.networks.campplus.training
    assert not loaded.speaker_matrix.requires_grad


def test_the_gpt_takes_the_precision_asked_for(folders: dict[str, Path]) -> None:
    loaded = load_checkpoint(folders["official"], device=CPU, dtype=torch.bfloat16)
    assert loaded.networks.gpt.mel_head.weight.dtype == torch.bfloat16
    assert loaded.networks.bigvgan.conv_pre.weight.dtype == torch.float32


def test_progress_names_every_part(folders: dict[str, Path]) -> None:
    parts: list[str] = []
    load_checkpoint(folders["vllm"], device=CPU, progress=parts.append)
    assert set(parts) == set(Networks.__slots__) - {"mel"}


@pytest.mark.parametrize(
    "name",
    [
        "gpt.pth",
        "s2mel.pth",
        "feat1.pt",
        "feat2.pt",
        "wav2vec2bert_stats.pt",
        "bpe.model",
        "campplus/campplus_cn_common.bin",
        "bigvgan/bigvgan_generator.pt",
        "semantic_codec/model.safetensors",
        "w2v-bert-2.0/model.safetensors",
    ],
)
def test_a_missing_file_is_named(folders: dict[str, Path], tmp_path: Path, name: str) -> None:
    root = shutil.copytree(folders["vllm"], tmp_path / "model")
    (root / name).unlink()
    with pytest.raises(CheckpointError, match=Path(name).name.split(".")[0]):
        load_checkpoint(root, device=CPU)


def test_a_missing_key_and_a_wrong_shape_are_named(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    root = shutil.copytree(folders["safetensors"], tmp_path / "model")
    tensors = load_file(root / "gpt.safetensors")
    del tensors["final_norm.weight"]
    tensors["mel_head.bias"] = torch.zeros(3)
    save_file(tensors, root / "gpt.safetensors")
    with pytest.raises(CheckpointError, match=r"missing final_norm\.weight, mel_head\.bias \(3,\)"):
        load_checkpoint(root, device=CPU)


def test_an_unknown_key_is_reported_and_left_out(
    folders: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = shutil.copytree(folders["safetensors"], tmp_path / "model")
    tensors = load_file(root / "gpt.safetensors")
    save_file({**tensors, "brand_new.weight": torch.zeros(3)}, root / "gpt.safetensors")
    with caplog.at_level(logging.WARNING):
        load_checkpoint(root, device=CPU)
    assert "brand_new.weight" in caplog.text


def test_a_pickle_that_runs_code_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    root = shutil.copytree(folders["vllm"], tmp_path / "model")
    marker = tmp_path / "it-ran"

    class Payload:
        def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
            return Path.touch, (marker,)

    torch.save({"model": Payload()}, root / "gpt.pth")
    with pytest.raises(CheckpointError, match=r"gpt\.pth cannot be read"):
        load_checkpoint(root, device=CPU)
    assert not marker.exists()


@pytest.mark.parametrize("damage", ["gpt: 3", "[1, 2]", "gpt: [unclosed"])
def test_a_bad_configuration_is_explained(
    folders: dict[str, Path], tmp_path: Path, damage: str
) -> None:
    root = shutil.copytree(folders["vllm"], tmp_path / "model")
    (root / "config.yaml").write_text(damage)
    with pytest.raises(CheckpointError, match=r"config\.yaml"):
        load_checkpoint(root, device=CPU)


def test_a_missing_setting_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    root = shutil.copytree(folders["vllm"], tmp_path / "model")
    config = yaml.safe_load((root / "config.yaml").read_text())
    del config["gpt"]["heads"]
    (root / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(CheckpointError, match=r"gpt\.heads"):
        load_checkpoint(root, device=CPU)


def test_another_models_tokenizer_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    root = shutil.copytree(folders["safetensors"], tmp_path / "model")
    config = yaml.safe_load((root / "config.yaml").read_text())
    config["gpt"]["number_text_tokens"] = 10
    (root / "config.yaml").write_text(yaml.safe_dump(config))
    tensors = load_file(root / "gpt.safetensors")
    tensors["text_embedding.weight"] = tensors["text_embedding.weight"][:11].contiguous()
    save_file(tensors, root / "gpt.safetensors")
    loaded = load_checkpoint(root, device=CPU)
    with pytest.raises(CheckpointError, match=r"bpe\.model has \d+ pieces"):
        build_model("tiny", loaded, DeviceWorker())


def test_a_folder_without_configuration_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nano"):
        find_checkpoint(tmp_path)
