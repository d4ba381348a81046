"""IndexTTS 1 on a tiny random checkpoint: sound that leaves early is the sound of the whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from indextts.checkpoint import CheckpointError
from indextts.loading import build_model, load_model, load_v1
from indextts.v1.model import INTERJECTIONS, IndexTTS1
from indextts.v1.voice import V1Voice
from streaming.errors import BadConfig, BadRecording, SynthesisFailed
from streaming.request import Emotion, Sampling, SynthesisRequest
from streaming.speech import ChunkReport, Prepared, Recording, Samples, Take, Urgency
from streaming.worker import DeviceWorker
from tests.indextts.scripted import ScriptedEngine
from tests.indextts.tiny_v1 import write_v1

CPU = torch.device("cpu")
SAMPLING = Sampling(temperature=1.0, top_k=60, top_p=1.0, repetition_penalty=1.0)
REQUEST = SynthesisRequest(request_id="r", voice="v", seed=3, sampling=SAMPLING)
PREPARED = Prepared(text="", normalized_text="", token_ids=(5, 6, 7, 8))
HOP = 1024


def recording(frequency_hz: float = 180.0, seconds: float = 1.5) -> Recording:
    t = np.arange(int(22_050 * seconds)) / 22_050
    voiced = 0.4 * np.sin(2 * np.pi * frequency_hz * t)
    return Recording(
        samples=voiced.astype(np.float32), sample_rate_hz=22_050, sha256=f"{frequency_hz}"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_v1(tmp_path_factory.mktemp("v1") / "tiny")


@asynccontextmanager
async def running(
    folder: Path, engine: ScriptedEngine | None = None, **inference: Any
) -> AsyncIterator[IndexTTS1]:
    loaded = load_v1(folder, device=CPU)
    changed = loaded.config.inference.model_copy(update=inference)
    loaded = replace(loaded, config=loaded.config.model_copy(update={"inference": changed}))
    async with DeviceWorker() as worker:
        model = build_model("tiny", loaded, worker)
        if engine is not None:
            model.write_with(engine)
        await model.start()
        try:
            yield model
        finally:
            await model.close()


async def collect(
    model: IndexTTS1, voice: V1Voice, request: SynthesisRequest = REQUEST
) -> tuple[list[Samples], ChunkReport]:
    take = Take(voice=voice, request=request, chunk_index=0, urgency=Urgency())
    items = [item async for item in model.speak(PREPARED, take)]
    *audio, report = items
    assert isinstance(report, ChunkReport)
    return [item for item in audio if not isinstance(item, ChunkReport)], report


def script(codes: Sequence[int], *, stopped: bool = True, **more: Any) -> ScriptedEngine:
    return ScriptedEngine([(codes, stopped)], 64, **more)


async def test_the_family_is_told_by_its_configuration(folder: Path) -> None:
    async with DeviceWorker() as worker:
        model = load_model(folder, worker, device=CPU)
    assert isinstance(model, IndexTTS1)
    assert model.info.sample_rate_hz == 24_000 and model.info.version == "1.5"
    assert not model.info.emotion_from_text


@pytest.mark.parametrize(
    ("sizes", "count"),
    [((16, 32), 1), ((16, 32), 45), ((16, 32), 46), ((16, 32), 47), ((9,), 60), ((5, 70), 80)],
)
async def test_streamed_equals_whole(folder: Path, sizes: tuple[int, ...], count: int) -> None:
    codes = [n % 40 for n in range(count)]
    async with running(folder, script(codes), slice_codes=sizes) as model:
        voice = await model.encode([recording()])
        streamed, report = await collect(model, voice)
    async with running(folder, script(codes), stream_codes=False, slice_codes=(999,)) as model:
        (whole,), _ = await collect(model, voice)
    joined = np.concatenate(streamed)
    assert joined.size == whole.size == count * HOP and report.codes == count
    assert np.abs(joined - whole).max() < 1e-4
    assert np.abs(whole).max() > 0.01


async def test_the_real_engine_streams_what_it_would_speak_whole(folder: Path) -> None:
    async with running(folder, slice_codes=(4, 8)) as model:
        voice = await model.encode([recording()])
        streamed, report = await collect(model, voice)
        assert {"prompt", "speaker", "vocoder"} <= set(report.stage_s)
    async with running(folder, stream_codes=False) as model:
        whole, same = await collect(model, voice)
    assert report.codes == same.codes > 0
    assert np.abs(np.concatenate(streamed) - np.concatenate(whole)).max() < 1e-4


async def test_sound_leaves_before_the_last_code(folder: Path) -> None:
    gate = asyncio.Event()

    async def pace(count: int) -> None:
        if count == 60:
            await gate.wait()

    codes = [n % 40 for n in range(100)]
    async with running(folder, script(codes, pace=pace), slice_codes=(16, 32)) as model:
        voice = await model.encode([recording()])
        take = Take(voice=voice, request=REQUEST, chunk_index=0, urgency=Urgency())
        spoken = model.speak(PREPARED, take)
        assert isinstance(spoken, AsyncGenerator)
        async with aclosing(spoken) as items:
            first = await asyncio.wait_for(anext(items), 200)
            assert isinstance(first, np.ndarray) and first.size == 16 * HOP
            gate.set()
            rest = [item async for item in items]
    assert sum(item.size for item in rest if isinstance(item, np.ndarray)) == 84 * HOP


async def test_a_runaway_is_tried_again_while_nothing_was_heard(folder: Path) -> None:
    engine = ScriptedEngine([([3, 4] * 8, False), ([1, 2, 3], True)], 64)
    async with running(folder, engine) as model:
        voice = await model.encode([recording()])
        audio, report = await collect(model, voice)
    assert report.retries == 1 and sum(map(len, audio)) == 3 * HOP


async def test_a_runaway_that_was_heard_fails(folder: Path) -> None:
    engine = ScriptedEngine([([3, 4] * 100, False), ([1, 2, 3], True)], 64)
    async with running(folder, engine) as model:
        voice = await model.encode([recording()])
        with pytest.raises(SynthesisFailed):
            await collect(model, voice)
    assert engine.started == 1


async def test_closing_stops_the_engine(folder: Path) -> None:
    async def pace(count: int) -> None:
        if count > 60:
            await asyncio.Event().wait()

    engine = script([1] * 5 + [2, 3] * 90, pace=pace)
    async with running(folder, engine) as model:
        voice = await model.encode([recording()])
        take = Take(voice=voice, request=REQUEST, chunk_index=0, urgency=Urgency())
        spoken = model.speak(PREPARED, take)
        assert isinstance(spoken, AsyncGenerator)
        async with aclosing(spoken) as items:
            await asyncio.wait_for(anext(items), 200)
        assert engine.cancelled == 1


async def test_several_recordings_are_averaged(folder: Path) -> None:
    one, two = recording(150.0), recording(320.0, seconds=2.0)
    async with running(folder) as model:
        first, second = await model.encode([one]), await model.encode([two])
        mixed = await model.encode([one, two])
    for name in ("conditioning", "speaker"):
        mean = (getattr(first, name) + getattr(second, name)) / 2
        torch.testing.assert_close(getattr(mixed, name), mean)
        assert not torch.allclose(getattr(first, name), getattr(second, name), atol=1e-3)


async def test_a_stored_voice_is_the_voice(folder: Path) -> None:
    async with running(folder) as model:
        voice = await model.encode([recording()])
        arrays = model.dump(voice)
        again = model.load(arrays)
        torch.testing.assert_close(again.conditioning, voice.conditioning)
        torch.testing.assert_close(again.speaker, voice.speaker)
        for broken in (
            {**arrays, "model": arrays["model"] + 1},
            {**arrays, "speaker": arrays["speaker"] * np.float32("nan")},
            {name: array for name, array in arrays.items() if name != "conditioning"},
        ):
            with pytest.raises(ValueError):
                model.load(broken)


async def test_what_it_cannot_do_is_refused(folder: Path) -> None:
    async with running(folder) as model:
        sad = replace(REQUEST, emotion=Emotion(vector=(0, 0, 1, 0, 0, 0, 0, 0)))
        with pytest.raises(BadConfig) as caught:
            model.prepare("the quick fox", sad)
        assert caught.value.param == "emotion"
        for recordings in ([], [recording(seconds=0.4)]):
            with pytest.raises(BadRecording):
                await model.encode(recordings)


async def test_interjections_are_read_as_the_fork_reads_them(folder: Path) -> None:
    async with running(folder, interjections=True) as model:
        assert model._glossary == INTERJECTIONS
        (prepared,) = model.prepare("the 嘿 fox", REQUEST)
        assert "HEI1" in prepared.normalized_text.upper()
    async with running(folder) as model:
        (prepared,) = model.prepare("the 嘿 fox", REQUEST)
        assert "HEI1" not in prepared.normalized_text.upper()


def test_missing_weights_are_named(folder: Path, tmp_path: Path) -> None:
    root = write_v1(tmp_path / "broken")
    stored = torch.load(root / "gpt.pth", weights_only=True)
    del stored["model"]["mel_head.bias"]
    torch.save(stored, root / "gpt.pth")
    with pytest.raises(CheckpointError, match=r"mel_head\.bias"):
        load_v1(root, device=CPU)
    (root / "bigvgan_generator.pth").unlink()
    with pytest.raises(CheckpointError, match="bigvgan_generator"):
        load_v1(write_and_drop(root), device=CPU)


def write_and_drop(root: Path) -> Path:
    """The folder with its GPT whole again and its vocoder gone."""
    whole = write_v1(root.parent / "whole")
    (whole / "gpt.pth").replace(root / "gpt.pth")
    return root
