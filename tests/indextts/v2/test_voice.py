from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor

from indextts.audio.mel import MelSpectrogram
from indextts.audio.reference import read_reference
from indextts.v2.campplus import Campplus
from indextts.v2.semantic import SemanticCodec
from indextts.v2.voice import Voice, VoiceEncoder
from indextts.v2.w2v_bert import W2vBert
from indextts.voice_arrays import fingerprint
from streaming.errors import BadRecording
from streaming.speech import Recording, Urgency

T = TypeVar("T")
STEPS = ["w2v_bert", "semantic_codec", "campplus", "mel", "length_regulator", "conditioning"]
STEPS += ["emotion"]


class InlineWorker:
    """Runs items at once and remembers their names."""

    def __init__(self) -> None:
        self.names: list[str] = []

    async def run(self, work: Callable[[], T], urgency: Urgency, *, name: str = "") -> T:
        self.names.append(name)
        await asyncio.sleep(0)
        return work()


def stretch(features: Tensor, frames: int) -> Tensor:
    index = torch.arange(frames) * features.shape[1] // frames
    return features[:, index]


@pytest.fixture(scope="module")
def encoder() -> VoiceEncoder:
    torch.manual_seed(0)
    w2v_bert = W2vBert(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=48,
        used_layer=1,
    ).eval()
    codec = SemanticCodec(
        codebook_size=40,
        hidden_size=32,
        vocos_dim=16,
        vocos_intermediate_dim=32,
        vocos_num_layers=1,
    ).eval()
    campplus = Campplus(
        head_channels=4,
        init_channels=16,
        bottleneck_channels=16,
        growth_rate=8,
        layers=(1, 1, 1),
        embedding_size=24,
    ).eval()
    linear = torch.nn.Linear(32, 20)
    return VoiceEncoder(
        w2v_bert=w2v_bert,
        codec=codec,
        campplus=campplus,
        mel=MelSpectrogram(n_mels=20),
        regulate=stretch,
        condition=lambda features: linear(features[:, :4]),
        feel=lambda features: linear(features.mean(1)),
        sample_rate_hz=22050,
        fingerprint=fingerprint({"w2v_bert": w2v_bert, "codec": codec, "campplus": campplus}),
        device=torch.device("cpu"),
    )


def recording(seconds: float = 1.2, seed: int = 0) -> Recording:
    noise = np.random.default_rng(seed).standard_normal(int(seconds * 24000))
    samples = (0.1 * noise).astype(np.float32)
    return Recording(samples=samples, sample_rate_hz=24000, sha256="0" * 64)


def parts(voice: Voice) -> dict[str, Tensor]:
    return {field.name: getattr(voice, field.name) for field in dataclasses.fields(Voice)}


def test_a_voice_has_the_shapes_the_models_expect(encoder: VoiceEncoder) -> None:
    voice = encoder.encode([recording()])
    frames = encoder.mel.frames(26460)
    assert voice.style.shape == (1, 24)
    assert voice.ref_mel.shape == (1, 20, frames)
    assert voice.prompt_condition.shape == (1, frames, 32)
    assert voice.conditioning.shape == (1, 4, 20)
    assert voice.emotion.shape == (1, 20)
    for tensor in parts(voice).values():
        assert tensor.dtype == torch.float32 and not tensor.requires_grad
        assert tensor.isfinite().all()


def test_the_prompt_is_what_the_codec_makes_of_the_features(encoder: VoiceEncoder) -> None:
    reference = read_reference([recording()], 22050)
    with torch.no_grad():
        quantized = encoder.codec.quantize(encoder.features(reference))[1]
    voice = encoder.encode([recording()])
    assert torch.allclose(voice.prompt_condition, stretch(quantized, voice.ref_mel.shape[2]))


async def test_the_worker_gets_every_step_as_its_own_item(encoder: VoiceEncoder) -> None:
    worker = InlineWorker()
    voice = await encoder.encode_on(worker, [recording()], Urgency())
    assert worker.names == [f"voice.{step}" for step in STEPS]
    here = parts(encoder.encode([recording()]))
    for name, tensor in parts(voice).items():
        assert torch.equal(tensor, here[name])
        assert not tensor.requires_grad


async def test_two_voices_encoded_at_once_do_not_mix(encoder: VoiceEncoder) -> None:
    worker = InlineWorker()
    recordings = [recording(seed=1), recording(1.4, seed=2)]
    voices = await asyncio.gather(
        *(encoder.encode_on(worker, [one], Urgency()) for one in recordings)
    )
    for voice, one in zip(voices, recordings, strict=True):
        assert torch.equal(voice.style, encoder.encode([one]).style)


async def test_a_cancelled_encoding_begins_nothing_more(encoder: VoiceEncoder) -> None:
    class Stuck(InlineWorker):
        stuck = asyncio.Event()

        async def run(self, work: Callable[[], T], urgency: Urgency, *, name: str = "") -> T:
            if len(self.names) == 2:
                self.stuck.set()
                await asyncio.sleep(60)
            return await super().run(work, urgency, name=name)

    worker = Stuck()
    task = asyncio.create_task(encoder.encode_on(worker, [recording()], Urgency()))
    await worker.stuck.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert worker.names == ["voice.w2v_bert", "voice.semantic_codec"]


async def test_a_bad_recording_never_reaches_the_worker(encoder: VoiceEncoder) -> None:
    worker = InlineWorker()
    silence = Recording(samples=np.zeros(48000, np.float32), sample_rate_hz=24000, sha256="0" * 64)
    with pytest.raises(BadRecording):
        await encoder.encode_on(worker, [silence], Urgency())
    with pytest.raises(BadRecording):
        encoder.encode([silence])
    assert worker.names == []


def test_a_short_prompt_leaves_the_speaker_alone(encoder: VoiceEncoder) -> None:
    short = dataclasses.replace(encoder, prompt_frames=40)
    cut, whole = short.encode([recording()]), encoder.encode([recording()])
    assert cut.ref_mel.shape[2] == cut.prompt_condition.shape[1] == 40
    torch.testing.assert_close(cut.ref_mel, whole.ref_mel[..., :40])
    torch.testing.assert_close(cut.conditioning, whole.conditioning)
    torch.testing.assert_close(cut.style, whole.style)
    with pytest.raises(ValueError, match="another model"):
        short.load(encoder.dump(whole))


def test_dump_and_load_turn_round(encoder: VoiceEncoder) -> None:
    voice = encoder.encode([recording()])
    arrays = encoder.dump(voice)
    assert all(array.dtype == np.float32 for array in arrays.values())
    loaded = parts(encoder.load(arrays))
    for name, tensor in parts(voice).items():
        assert torch.equal(loaded[name], tensor)


def test_another_models_voice_is_refused(encoder: VoiceEncoder) -> None:
    arrays = encoder.dump(encoder.encode([recording()]))
    other = dataclasses.replace(encoder, fingerprint="00" * 32)
    with pytest.raises(ValueError, match="another model"):
        other.load(arrays)
    with pytest.raises(ValueError, match="another model"):
        encoder.load({name: array for name, array in arrays.items() if name != "model"})


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("style", lambda a: a[0]),
        ("emotion", lambda a: a * np.nan),
        ("ref_mel", lambda a: a[..., :-1]),
        ("conditioning", None),
    ],
)
def test_a_damaged_voice_is_refused(
    encoder: VoiceEncoder, name: str, damage: Callable[[np.ndarray], np.ndarray] | None
) -> None:
    arrays = encoder.dump(encoder.encode([recording()]))
    array = arrays.pop(name)
    if damage is not None:
        arrays[name] = damage(array)
    with pytest.raises(ValueError, match="damaged"):
        encoder.load(arrays)


def test_the_fingerprint_names_the_weights() -> None:
    def layer(seed: int, width: int = 64) -> torch.nn.Module:
        torch.manual_seed(seed)
        return torch.nn.Linear(64, width)

    one = fingerprint({"a": layer(0), "b": layer(1)})
    assert one == fingerprint({"b": layer(1), "a": layer(0)})
    assert len(bytes.fromhex(one)) == 32
    others = [
        fingerprint({"a": layer(0), "b": layer(2)}),
        fingerprint({"a": layer(0), "c": layer(1)}),
        fingerprint({"a": layer(0), "b": layer(1, 65)}),
        fingerprint({"a": layer(0)}),
    ]
    assert len({one, *others}) == 5
