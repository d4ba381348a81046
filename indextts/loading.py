"""From a checkpoint folder of either family to a model that speaks.

Every part goes through ``weights.convert``. A missing key or a wrong shape is an error that names
it; a key that no part of inference knows is logged and left out, because training scripts save
more than inference needs (specification 1.3).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, overload

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from indextts import weights
from indextts.checkpoint import (
    CheckpointError,
    CheckpointFolder,
    find_checkpoint,
    read_tensors,
    single,
    subset,
)
from indextts.config import Section
from indextts.engines.torch_engine import TorchEngine
from indextts.text.process import FrontendProcess
from indextts.text.tokenizer import Tokenizer
from indextts.v1 import vocoder as v1_vocoder
from indextts.v1 import weights as v1_weights
from indextts.v1.config import V1Config
from indextts.v1.gpt import V1Gpt
from indextts.v1.model import IndexTTS1
from indextts.v2.config import BigvganConfig, CheckpointConfig
from indextts.v2.emotion import EmotionMatrices, QwenEmotion
from indextts.v2.emotion_mixer import EmotionMixer
from indextts.v2.model import IndexTTS2
from indextts.v2.networks import Networks, build_networks
from indextts.v2.weights import convert
from streaming.speech import Worker

logger = logging.getLogger(__name__)

ConfigT = TypeVar("ConfigT", bound=Section)

_S2MEL_PARTS = ("cfm", "length_regulator", "gpt_layer")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedCheckpoint:
    """Networks in evaluation mode on their device, and the small files around them."""

    folder: CheckpointFolder
    config: CheckpointConfig
    networks: Networks
    speaker_matrix: Tensor
    emotion_matrix: Tensor
    tokenizer_model: Path
    qwen_folder: Path | None
    device: torch.device


class _NoInit(TorchFunctionMode):
    """Leaves new parameters as they are: they are about to be replaced by loaded ones."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedV1:
    """The same of an IndexTTS 1.0 or 1.5 checkpoint."""

    folder: CheckpointFolder
    config: V1Config
    gpt: V1Gpt
    bigvgan: v1_vocoder.BigVGAN
    tokenizer_model: Path
    device: torch.device


def load_model(
    name: str | Path,
    worker: Worker,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    progress: Callable[[str], None] = lambda part: None,
) -> IndexTTS1 | IndexTTS2:
    """The model in the checkpoint called ``name`` (``nano`` or a folder), whatever its family.

    ``dtype`` is the precision of the GPT; everything after it computes in float32, as the
    originals do. ``progress`` hears the name of each part. Raises ``CheckpointError``.
    """
    sections = CheckpointFolder(find_checkpoint(name)).yaml("config.yaml")
    title = Path(name).name
    if "bigvgan" in sections and "s2mel" not in sections:
        first = load_v1(name, device=device, dtype=dtype, progress=progress)
        return build_model(title, first, worker)
    second = load_checkpoint(name, device=device, dtype=dtype, progress=progress)
    return build_model(title, second, worker)


def load_checkpoint(
    name: str | Path,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    progress: Callable[[str], None] = lambda part: None,
) -> LoadedCheckpoint:
    """Read a checkpoint of IndexTTS-2 in any known layout, as ``load_model`` does."""
    folder = CheckpointFolder(find_checkpoint(name))
    config = read_config(folder, CheckpointConfig)
    with _NoInit():
        networks = build_networks(config, read_bigvgan_config(folder))
    for part, tensors, keep in _parts(folder, config, networks):
        progress(part)
        load_part(getattr(networks, part), part, convert(part, tensors, keep))
    stats = read_tensors(folder.file(config.w2v_stat))
    networks.w2v_bert.set_stats(stats["mean"], stats["var"])
    _place(networks, device, dtype)
    qwen = folder.root / config.qwen_emo_path
    return LoadedCheckpoint(
        folder=folder,
        config=config,
        networks=networks,
        speaker_matrix=single(folder.file(config.spk_matrix)).to(device),
        emotion_matrix=single(folder.file(config.emo_matrix)).to(device),
        tokenizer_model=folder.file(config.dataset.bpe_model),
        qwen_folder=qwen if qwen.is_dir() else None,
        device=device,
    )


def load_v1(
    name: str | Path,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    progress: Callable[[str], None] = lambda part: None,
) -> LoadedV1:
    """Read a checkpoint of IndexTTS 1.0 or 1.5, as ``load_model`` does.

    Converted layouts hold the official files too, and those are read.
    """
    folder = CheckpointFolder(find_checkpoint(name))
    config = read_config(folder, V1Config)
    with _NoInit():
        gpt = V1Gpt(config.gpt, n_mels=config.dataset.mel.n_mels, layout=config.inference.layout)
        bigvgan = v1_vocoder.BigVGAN(config.bigvgan)
    for part, module, file, nested in (
        ("gpt", gpt, config.gpt_checkpoint, "model"),
        ("bigvgan", bigvgan, config.bigvgan_checkpoint, "generator"),
    ):
        progress(part)
        tensors = read_tensors(folder.file(file))
        rules = v1_weights.PARTS[part]
        have = weights.convert(rules, tensors.get(nested, tensors), gpt2=part == "gpt")
        load_part(module, part, have)
        module.eval().requires_grad_(False).to(device)
    return LoadedV1(
        folder=folder,
        config=config,
        gpt=gpt.to(dtype),
        bigvgan=bigvgan,
        tokenizer_model=folder.file(config.dataset.bpe_model),
        device=device,
    )


def read_config(folder: CheckpointFolder, kind: type[ConfigT]) -> ConfigT:
    """The folder's config.yaml, checked. Raises ``CheckpointError`` naming the field."""
    try:
        return kind.model_validate(folder.yaml("config.yaml"))
    except ValidationError as error:
        raise CheckpointError(_explain(folder.root / "config.yaml", error)) from None


def read_bigvgan_config(folder: CheckpointFolder) -> BigvganConfig:
    """The config.json beside the vocoder's weights; the official one when it has none."""
    path = folder.auxiliary("bigvgan").parent / "config.json"
    if not path.is_file():
        return BigvganConfig()
    try:
        return BigvganConfig.model_validate(folder.yaml(str(path.relative_to(folder.root))))
    except ValidationError as error:
        raise CheckpointError(_explain(path, error)) from None


def load_part(module: nn.Module, part: str, tensors: Mapping[str, Tensor]) -> None:
    """Give ``module`` its ``tensors``, under our names, without copying where it can be avoided.

    Raises ``CheckpointError`` that names keys which are missing or have another shape.
    """
    want = module.state_dict()
    have = {
        key: tensor.detach().to(want[key].dtype) if key in want else tensor
        for key, tensor in tensors.items()
    }
    missing = [key for key in want if key not in have]
    wrong = [
        f"{key} {tuple(have[key].shape)} instead of {tuple(want[key].shape)}"
        for key in want
        if key in have and have[key].shape != want[key].shape
    ]
    if missing or wrong:
        what = [f"missing {key}" for key in missing] + wrong
        raise CheckpointError(f"weights of {part} do not fit: {_some(what)}")
    if unknown := [key for key in have if key not in want]:
        logger.warning("weights of %s hold keys that are not needed: %s", part, _some(unknown))
    module.load_state_dict({key: have[key] for key in want}, strict=True, assign=True)


def _parts(
    folder: CheckpointFolder, config: CheckpointConfig, networks: Networks
) -> list[tuple[str, Mapping[str, Tensor], Callable[[str], bool]]]:
    """Every part with its official tensors and a filter on our keys."""

    def everything(key: str) -> bool:
        return True

    gpt = read_tensors(folder.file(config.gpt_checkpoint))
    s2mel = read_tensors(folder.file(config.s2mel_checkpoint))
    generator = read_tensors(folder.auxiliary("bigvgan"))
    found: list[tuple[str, Mapping[str, Tensor], Callable[[str], bool]]] = [
        ("gpt", gpt.get("model", gpt), everything)
    ]
    for part in _S2MEL_PARTS:
        tensors = s2mel["net"][part] if "net" in s2mel else subset(s2mel, f"{part}.")
        found.append((part, tensors, everything))
    found.append(("bigvgan", generator.get("generator", generator), everything))
    for part in ("semantic_codec", "campplus"):
        found.append((part, read_tensors(folder.auxiliary(part)), everything))
    found.append(("w2v_bert", read_tensors(folder.auxiliary("w2v_bert")), networks.w2v_bert.keeps))
    return found


def _place(networks: Networks, device: torch.device, dtype: torch.dtype) -> None:
    for part in Networks.__slots__:
        module: nn.Module = getattr(networks, part)
        module.eval().requires_grad_(False)
        if part != "mel":  # not every accelerator has complex spectra
            module.to(device)
    networks.gpt.to(dtype)


def _explain(path: Path, error: ValidationError) -> str:
    fields = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
    return f"{path} is not a valid configuration: {_some(fields)}"


def _some(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


@overload
def build_model(
    name: str, checkpoint: LoadedV1, worker: Worker, *, slots: int = 8
) -> IndexTTS1: ...


@overload
def build_model(
    name: str, checkpoint: LoadedCheckpoint, worker: Worker, *, slots: int = 8
) -> IndexTTS2: ...


def build_model(
    name: str, checkpoint: LoadedCheckpoint | LoadedV1, worker: Worker, *, slots: int = 8
) -> IndexTTS1 | IndexTTS2:
    """The checkpoint behind the pipeline's seam, with the torch engine (not yet started).

    ``slots`` chunks decode at once; each takes the memory of one key-value cache. Raises
    ``CheckpointError`` when the tokenizer is not the model's.
    """
    gpt_config = checkpoint.config.gpt
    tokens = Tokenizer(checkpoint.tokenizer_model).vocabulary_size
    if tokens > gpt_config.number_text_tokens + 1:
        raise CheckpointError(
            f"{checkpoint.tokenizer_model} has {tokens} pieces, more than the "
            f"{gpt_config.number_text_tokens + 1} text embeddings of the gpt"
        )
    positions = gpt_config.max_mel_tokens + 3  # prompt and codes together, as the vLLM layout
    gpt = checkpoint.gpt if isinstance(checkpoint, LoadedV1) else checkpoint.networks.gpt
    engine = TorchEngine(gpt, worker=worker, slots=slots, positions=positions)
    frontend = FrontendProcess(
        checkpoint.tokenizer_model, fold_unknown=checkpoint.config.inference.fold_unknown_letters
    )
    if isinstance(checkpoint, LoadedV1):
        return IndexTTS1(
            name=name,
            config=checkpoint.config,
            gpt=checkpoint.gpt,
            bigvgan=checkpoint.bigvgan,
            frontend=frontend,
            engine=engine,
            worker=worker,
            positions=positions,
        )
    return IndexTTS2(
        name=name,
        config=checkpoint.config,
        networks=checkpoint.networks,
        frontend=frontend,
        mixer=_mixer(checkpoint),
        engine=engine,
        worker=worker,
        positions=positions,
    )


def _mixer(checkpoint: LoadedCheckpoint) -> EmotionMixer:
    classifier = None
    if checkpoint.qwen_folder is not None:
        classifier = QwenEmotion.load(checkpoint.qwen_folder, checkpoint.device)
    matrices = EmotionMatrices(
        speakers=checkpoint.speaker_matrix,
        emotions=checkpoint.emotion_matrix,
        counts=checkpoint.config.emo_num,
    )
    return EmotionMixer(
        matrices=matrices,
        classifier=classifier,
        normalize=checkpoint.config.inference.normalize_emotion,
    )
