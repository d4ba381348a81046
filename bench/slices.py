"""``scripts/bench slices``: first audio of a long IndexTTS 1 chunk, vocoded as its codes come.

A scripted engine writes twenty seconds of codes at an even pace; the same tiny checkpoint speaks
them with and without waiting for the last one. Exit status 1 when the ratio misses its bar.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console

from bench.bars import Bar, bar_table
from indextts.loading import build_model, load_v1
from indextts.v1.model import IndexTTS1
from indextts.v1.voice import V1Voice
from streaming.request import SynthesisRequest
from streaming.speech import Prepared, Recording, Take, Urgency
from streaming.worker import DeviceWorker
from tests.indextts.scripted import ScriptedEngine
from tests.indextts.tiny_v1 import CONFIG, write_v1

CODES = 469
MOST = 0.3
"""Largest share of the first audio without slices."""
RATE_HZ = 24_000
REQUEST = SynthesisRequest(request_id="bench", voice="bench", seed=1)
PREPARED = Prepared(text="", normalized_text="", token_ids=(5, 6, 7))

console = Console()


async def first_audio_s(model: IndexTTS1, voice: V1Voice) -> float:
    """Seconds until the first samples of a chunk."""
    take = Take(voice=voice, request=REQUEST, chunk_index=0, urgency=Urgency(first=True))
    began = time.perf_counter()
    spoken = model.speak(PREPARED, take)
    assert isinstance(spoken, AsyncGenerator)
    async with aclosing(spoken) as items:
        await anext(items)
    return time.perf_counter() - began


async def measure(folder: Path, code_s: float, repeats: int) -> tuple[list[float], list[float]]:
    """First audio with slices and without, in turn."""

    async def pace(count: int) -> None:
        await asyncio.sleep(code_s)

    codes = [n % 40 for n in range(CODES)]
    found: tuple[list[float], list[float]] = ([], [])
    async with DeviceWorker() as worker:
        loaded = load_v1(folder, device=torch.device("cpu"))
        model = build_model("tiny", loaded, worker)
        width = CONFIG["gpt"]["model_dim"]
        model.write_with(ScriptedEngine([(codes, True)], width, pace))
        wave = np.sin(np.arange(2 * RATE_HZ) * 0.05).astype(np.float32)
        recording = Recording(samples=wave, sample_rate_hz=RATE_HZ, sha256="bench")
        voice = await model.encode([recording])
        for _ in range(repeats):
            for streamed, times in zip((True, False), found, strict=True):
                model.stream_codes = streamed
                times.append(await first_audio_s(model, voice))
    return found


def main(
    code_ms: Annotated[float, typer.Option(help="Time the engine takes for a code.")] = 10.0,
    repeats: Annotated[int, typer.Option(help="Pairs to measure.", min=1)] = 3,
) -> None:
    """Compare first audio with and without vocoding codes as they come."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_v1(Path(scratch) / "tiny")
        streamed, whole = asyncio.run(measure(folder, code_ms / 1000, repeats))
    with_ms, without_ms = (1000 * statistics.median(times) for times in (streamed, whole))
    ratio = Bar(name="first audio, with / without", value=with_ms / without_ms, limit=MOST)
    console.print(
        bar_table(f"{CODES} codes: {with_ms:.0f} ms against {without_ms:.0f} ms", [ratio])
    )
    if not ratio.ok:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
