"""The whole model on a tiny random checkpoint: determinism, company, cancellation, refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from indextts.loading import build_model, load_checkpoint
from indextts.v2.model import IndexTTS2
from indextts.v2.voice import Voice
from streaming.errors import BadConfig, SynthesisFailed
from streaming.request import Emotion, Sampling, SynthesisRequest
from streaming.speech import ChunkReport, Prepared, Recording, Samples, Take, Urgency
from streaming.worker import DeviceWorker
from tests.indextts.tiny_checkpoint import write_safetensors

SAMPLING = Sampling(temperature=1.0, top_k=34, top_p=1.0, repetition_penalty=1.0)
REQUEST = SynthesisRequest(request_id="r", voice="v", seed=3, sampling=SAMPLING)
TEXT = "The quick brown fox jumps."


def recording(frequency_hz: float = 180.0, seconds: float = 1.5) -> Recording:
    t = np.arange(int(22_050 * seconds)) / 22_050
    voiced = np.sin(2 * np.pi * frequency_hz * t) * (0.4 + 0.2 * np.sin(2 * np.pi * 3 * t))
    return Recording(
        samples=voiced.astype(np.float32), sample_rate_hz=22_050, sha256=f"{frequency_hz}"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("model") / "tiny"
    write_safetensors(root)
    return root


@asynccontextmanager
async def running(folder: Path, dtype: torch.dtype = torch.float32) -> AsyncIterator[IndexTTS2]:
    checkpoint = load_checkpoint(folder, device=torch.device("cpu"), dtype=dtype)
    async with DeviceWorker() as worker:
        built = build_model("tiny", checkpoint, worker)
        await built.start()
        yield built
        await built.close()


@pytest.fixture
async def model(folder: Path) -> AsyncIterator[IndexTTS2]:
    async with running(folder) as built:
        yield built


async def speak(
    model: IndexTTS2, voice: Voice, request: SynthesisRequest = REQUEST, chunk_index: int = 0
) -> tuple[list[Samples], ChunkReport]:
    (prepared,) = model.prepare(TEXT, request)
    return await speak_prepared(model, voice, prepared, request, chunk_index)


async def speak_prepared(
    model: IndexTTS2,
    voice: Voice,
    prepared: Prepared,
    request: SynthesisRequest = REQUEST,
    chunk_index: int = 0,
) -> tuple[list[Samples], ChunkReport]:
    take = Take(voice=voice, request=request, chunk_index=chunk_index, urgency=Urgency())
    items = [item async for item in model.speak(prepared, take)]
    *audio, report = items
    assert isinstance(report, ChunkReport)
    arrays = [item for item in audio if not isinstance(item, ChunkReport)]
    assert len(arrays) == len(audio)
    return arrays, report


async def test_it_speaks_in_slices_of_the_right_length(model: IndexTTS2) -> None:
    voice = await model.encode([recording()])
    audio, report = await speak(model, voice)
    samples = np.concatenate(audio)
    assert samples.dtype == np.float32 and np.abs(samples).max() <= 1
    assert samples.size == int(np.float32(report.codes) * np.float32(1.72)) * 256
    assert {"prompt", "gpt", "regulator", "cfm", "vocoder"} <= set(report.stage_s)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
async def test_the_gpt_may_compute_in_sixteen_bits(folder: Path, dtype: torch.dtype) -> None:
    async with running(folder, dtype) as model:
        voice = await model.encode([recording()])
        request = replace(REQUEST, emotion=Emotion(vector=(0, 0.9, 0, 0, 0, 0, 0, 0)))
        audio, _ = await speak(model, voice, request)
        assert {array.dtype for array in audio} == {np.dtype(np.float32)}
        assert model.dump(voice)["conditioning"].dtype == np.float32


@pytest.mark.parametrize("tokens", [0, 1, 60])
async def test_a_text_may_have_any_length_up_to_the_limit(model: IndexTTS2, tokens: int) -> None:
    model._networks.gpt.mel_head.bias.data[model._config.gpt.stop_mel_token] += 1.5
    voice = await model.encode([recording(seconds=1.0)])
    prepared = Prepared(text="", normalized_text="", token_ids=(5,) * tokens)
    audio, report = await speak_prepared(model, voice, prepared)
    assert report.codes > 0 and audio
    assert model.info.limit_tokens == 60


async def test_company_and_order_change_nothing(model: IndexTTS2) -> None:
    voice = await model.encode([recording()])
    alone, _ = await speak(model, voice)
    other = replace(REQUEST, request_id="other", seed=11)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(speak(model, voice, other, chunk_index=5)),
            group.create_task(speak(model, voice)),
            group.create_task(speak(model, voice, replace(other, request_id="third"))),
        ]
    together, _ = tasks[1].result()
    np.testing.assert_allclose(np.concatenate(together), np.concatenate(alone), atol=1e-4)


async def test_seed_and_chunk_index_change_the_sound(model: IndexTTS2) -> None:
    voice = await model.encode([recording()])
    sounds = [
        np.concatenate((await speak(model, voice, request, chunk))[0]).tobytes()
        for request, chunk in ((REQUEST, 0), (replace(REQUEST, seed=4), 0), (REQUEST, 1))
    ]
    assert len(set(sounds)) == 3


async def test_an_emotion_changes_the_sound(model: IndexTTS2) -> None:
    voice = await model.encode([recording()])
    angry = replace(REQUEST, emotion=Emotion(vector=(0, 0.9, 0, 0, 0, 0, 0, 0)))
    plain, _ = await speak(model, voice)
    changed, _ = await speak(model, voice, angry)
    assert np.concatenate(plain).tobytes() != np.concatenate(changed).tobytes()
    again, _ = await speak(model, voice, angry)
    np.testing.assert_array_equal(np.concatenate(changed), np.concatenate(again))


async def test_emotion_from_text_needs_a_classifier(model: IndexTTS2) -> None:
    with pytest.raises(BadConfig, match="classifier") as caught:
        model.prepare(TEXT, replace(REQUEST, emotion=Emotion(text="so sad")))
    assert caught.value.param == "emotion.text"


async def test_a_stored_voice_speaks_alike(model: IndexTTS2) -> None:
    voice = await model.encode([recording()])
    restored = model.load(model.dump(voice))
    first, _ = await speak(model, voice)
    second, _ = await speak(model, restored)
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(second))


async def test_closing_the_iterator_frees_the_engine(model: IndexTTS2) -> None:
    voice = await model.encode([recording()])
    (prepared,) = model.prepare(TEXT, REQUEST)
    take = Take(voice=voice, request=REQUEST, chunk_index=0, urgency=Urgency())

    async def listen() -> None:
        items = model.speak(prepared, take)
        assert isinstance(items, AsyncGenerator)
        async with aclosing(items):
            async for _ in items:
                await asyncio.sleep(3600)

    for delay_s in (0.0, 0.002, 0.01, 0.03):
        task = asyncio.create_task(listen())
        await asyncio.sleep(delay_s)
        task.cancel()
        await asyncio.wait([task])
        assert not model.engine.active


async def test_a_text_that_never_ends_fails_by_name(model: IndexTTS2) -> None:
    voice = await model.encode([recording()])
    head = model._networks.gpt.mel_head
    stop = model._config.gpt.stop_mel_token
    saved = head.bias[stop].item()
    head.bias.data[stop] = -1e9
    try:
        with pytest.raises(SynthesisFailed):
            await speak(model, voice)
    finally:
        head.bias.data[stop] = saved
    assert not model.engine.active


async def test_a_stump_is_tried_again_and_the_longest_serves(model: IndexTTS2) -> None:
    voice = await model.encode([recording()])
    _, plain = await speak(model, voice)
    assert plain.retries == 0
    strict = model._config.inference.model_copy(
        update={"min_codes_per_text_token": 1e3, "retries": 2}
    )
    model._writer = replace(model._writer, defaults=strict)
    _, longest = await speak(model, voice)
    assert longest.retries == 2
    assert longest.codes >= plain.codes


async def test_a_long_text_becomes_several_segments(model: IndexTTS2) -> None:
    segments = model.prepare(" ".join([TEXT] * 6), REQUEST)
    assert len(segments) > 1
    assert all(len(s.token_ids) <= model.info.limit_tokens for s in segments)
    assert model.prepare("   ", REQUEST) == ()
