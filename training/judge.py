"""Stage ``judge``: the whole chain in one process, heard by the jury; no server needed."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from bench.jury import Jury, SpeakerScore, Utterance, Verdict, score
from bench.listeners import Samples
from bench.mixed import Judged
from indextts.loading import build_model, load_checkpoint
from indextts.v2.model import IndexTTS2
from indextts.v2.voice import Voice
from speakers.catalog import Catalog, load_catalog
from streaming.errors import SynthesisFailed
from streaming.pipeline import SpeechPipeline
from streaming.request import SynthesisRequest
from streaming.worker import DeviceWorker

SEED = 7
SHORTEST_SAMPLES = 11025


async def say(pipeline: SpeechPipeline[Voice], voice: Voice, text: str) -> Samples:
    """What a listener hears of ``text``; as far as it came when the model gave up."""
    request = SynthesisRequest(request_id="judge", voice="judge", seed=SEED)
    pcm = b""
    try:
        async for event in pipeline.speak_text(request, voice, text):
            pcm += getattr(event, "pcm", b"")
    except SynthesisFailed:
        pcm += bytes(2 * SHORTEST_SAMPLES)
    return np.frombuffer(pcm, "<i2").astype(np.float32) / 32768.0


async def speak_all(
    checkpoint: str | Path, catalog: Catalog, speakers: Sequence[str], sentences: Sequence[Judged]
) -> dict[str, list[Utterance]]:
    """Every sentence by every speaker."""
    loaded = load_checkpoint(checkpoint, device=torch.device("cpu"))
    async with DeviceWorker() as worker:
        model: IndexTTS2 = build_model("judged", loaded, worker)
        await model.start()
        pipeline, spoken = SpeechPipeline(model), {}
        for name in speakers:
            voice = await model.encode(catalog.resolve(name).load())
            spoken[name] = [
                Utterance(asked=asked, samples=await say(pipeline, voice, asked.text))
                for asked in sentences
            ]
        pipeline.close()
        await model.close()
    return spoken


def judge(
    checkpoint: str | Path, registry: Path, speakers: Sequence[str], sentences: Sequence[Judged]
) -> dict[str, list[Verdict]]:
    """What the jury hears of ``sentences`` by every one of ``speakers``."""
    catalog = load_catalog(registry)
    names = speakers or [one.name for one in catalog.speakers if one.unavailable is None]
    spoken = asyncio.run(speak_all(checkpoint, catalog, names, sentences))
    jury = Jury(catalog)
    return {name: [jury.hear(name, one) for one in heard] for name, heard in spoken.items()}


def means(scores: Sequence[SpeakerScore]) -> dict[str, float]:
    """Scores over all speakers, for a log."""
    names = ("wer", "cer", "p808", "identity", "similarity")
    return {name: statistics.mean(getattr(one, name) for one in scores) for name in names}


def scores_of(verdicts: dict[str, list[Verdict]]) -> list[SpeakerScore]:
    """One score per speaker."""
    return [score(name, heard) for name, heard in verdicts.items()]
