"""Stage ``judge``: the whole chain in one process, heard by a recogniser; no server needed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import torch

from bench.harvard import HARVARD
from bench.listeners import Heard, Recogniser, Samples, rates
from indextts.engines.torch_engine import TorchEngine
from indextts.loading import build_model, load_checkpoint
from indextts.v2.model import IndexTTS2
from indextts.v2.voice import Voice
from speakers.catalog import load_catalog
from streaming.request import SynthesisRequest
from streaming.speech import Take, Urgency
from streaming.worker import DeviceWorker
from training.corpus import RATE_HZ


async def _say(model: IndexTTS2, voice: Voice, text: str) -> Samples:
    request = SynthesisRequest(request_id="judge", voice="judge", seed=1)
    parts: list[Samples] = []
    for index, prepared in enumerate(model.prepare(text, request)):
        take = Take(voice=voice, request=request, chunk_index=index, urgency=Urgency())
        async for item in model.speak(prepared, take):
            if isinstance(item, np.ndarray):
                parts.append(item)
    return np.concatenate(parts)


async def _speak_all(checkpoint: Path, registry: Path, voice: str | None) -> list[Samples]:
    loaded = load_checkpoint(checkpoint, device=torch.device("cpu"))
    async with DeviceWorker() as worker:
        model = build_model("judged", loaded, worker)
        engine = model.engine
        assert isinstance(engine, TorchEngine)
        async with engine:
            recordings = load_catalog(registry).resolve(voice).load()
            encoded = await model.encode(recordings)
            return [await _say(model, encoded, text) for text in HARVARD]


def judge(checkpoint: Path, registry: Path, voice: str | None) -> list[Heard]:
    """Speak the judge's sentences with ``voice`` and print what was understood."""
    waves = asyncio.run(_speak_all(checkpoint, registry, voice))
    recogniser = Recogniser()
    rate_hz = RATE_HZ
    heard = [recogniser.hear(t, w, rate_hz) for t, w in zip(HARVARD, waves, strict=True)]
    for sentence in heard:
        print(
            f"{sentence.word_errors:2}/{sentence.words:2}  {sentence.reference} | {sentence.text}"
        )
    total = rates(heard)
    print(f"WER {total.word:.3f}  CER {total.character:.3f}")
    return heard
