"""``scripts/bench latency``: how soon, how fast and how smoothly the embedded checkpoint speaks.

One run measures everything against itself, because machines differ and are noisy: a streamed text
against the same text unstreamed (same chunks, same seed), and the first audio with look-ahead
against the first audio without. Exit status 1 when a ratio misses its bar.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console

from bench.bars import Bar, bar_table
from bench.serving import running_server
from client.connection import Audio, connect
from client.metrics import Meter, Metrics
from indextts.device import choose_device, set_cpu_threads
from indextts.loading import build_model, load_checkpoint
from server.compose import shipped_speakers
from speakers.catalog import load_catalog
from streaming import wire
from streaming.events import AudioFrame
from streaming.pipeline import SpeechPipeline
from streaming.request import SynthesisRequest
from streaming.worker import DeviceWorker

TEXT = (
    "The kettle had just begun to sing when the bell rang twice. Nobody in the house expected a "
    "visitor at that hour. A young woman stood on the step with a letter in her hand. She asked "
    "whether the old captain still lived here. He does, said the cook, but he sleeps until noon. "
    "The woman smiled and sat down on the garden wall. Rain began to fall in slow, heavy drops. "
    "She opened a red umbrella and waited without a word. At noon the captain came "
    "down the stairs. He read the letter once, and then he laughed out loud."
)
"""Ten sentences that were in no training data."""

SEED = 7
PAIRS_PER_RUN = 6
"""First audio varies more from one time to the next than its bar allows; many pairs steady it."""

SETTLE_S = 0.3
"""Before each measurement, so that what the last one left in the device is over."""


async def streamed(url: str) -> tuple[Metrics, float]:
    """The text over the native WebSocket; also the seconds of its first chunk."""
    meter, first_chunk_s = Meter(), 0.0
    async with connect(url, {"sampling": {"seed": SEED}}) as connection:
        context = connection.context()
        meter.ask(time.monotonic())
        await context.send(TEXT)
        await context.done()
        async for event in context:
            if isinstance(event, Audio):
                meter.hear(event.received_s, event.samples, event.sample_rate_hz)
            elif isinstance(event, wire.AudioDone) and event.sentence_index == 0:
                first_chunk_s = event.duration_ms / 1000
    return meter.metrics(), first_chunk_s


def unstreamed(url: str) -> float:
    """Seconds until the whole text is there as one WAV."""
    body = {"model": "tts", "input": TEXT, "response_format": "wav", "seed": SEED, "stream": False}
    began_s = time.monotonic()
    httpx.post(f"{url}/v1/audio/speech", json=body, timeout=600).raise_for_status()
    return time.monotonic() - began_s


async def first_audio_by_look_ahead(repeats: int) -> dict[int, float]:
    """Median seconds to the first frame with one chunk in flight and with two, taken in turns."""
    set_cpu_threads(None)
    checkpoint = load_checkpoint("nano", device=choose_device("cpu"))
    catalog = load_catalog(shipped_speakers())
    times: dict[int, list[float]] = {1: [], 2: []}
    async with DeviceWorker() as worker:
        model = build_model("nano", checkpoint, worker)
        await model.engine.start()
        voice = await model.encode(catalog.default.load())
        pipelines = {ahead: SpeechPipeline(model, look_ahead=ahead) for ahead in times}
        for turn in range(repeats + 1):
            for ahead in sorted(pipelines, reverse=bool(turn % 2)):
                await asyncio.sleep(SETTLE_S)
                request = SynthesisRequest(request_id=f"{turn}-{ahead}", voice="v", seed=SEED)
                began_s = time.monotonic()
                async with aclosing(pipelines[ahead].speak_text(request, voice, TEXT)) as events:
                    async for event in events:
                        if isinstance(event, AudioFrame):
                            break
                if turn:  # the first turn warms up
                    times[ahead].append(time.monotonic() - began_s)
        for pipeline in pipelines.values():
            pipeline.close()
        await model.engine.close()
    return {ahead: statistics.median(values) for ahead, values in times.items()}


def measure(repeats: int) -> tuple[list[Bar], dict[str, Any]]:
    """All bars, and the figures behind them."""
    with running_server() as served:
        runs = [asyncio.run(streamed(served.url)) for _ in range(repeats)]
        whole_s = statistics.median(unstreamed(served.url) for _ in range(repeats))
    first_s = asyncio.run(first_audio_by_look_ahead(repeats * PAIRS_PER_RUN))
    metrics, first_chunk_s = sorted(runs, key=lambda run: run[0].total_s)[len(runs) // 2]
    first_audio_s = (metrics.first_audio_ms or 0.0) / 1000
    bars = [
        Bar(name="first audio / end", value=first_audio_s / metrics.total_s, limit=0.25),
        Bar(name="streamed / unstreamed", value=metrics.total_s / whole_s, limit=1.15),
        Bar(name="first chunk, s", value=first_chunk_s, limit=0.8, at_least=True),
        Bar(name="gaps a player hears", value=metrics.gaps, limit=0),
        Bar(
            name="first audio with / without look-ahead", value=first_s[2] / first_s[1], limit=1.05
        ),
    ]
    figures = {"unstreamed_s": whole_s, "first_audio_by_look_ahead_s": first_s, **asdict(metrics)}
    return bars, figures


def main(
    repeats: Annotated[int, typer.Option(help="Runs; the median one counts.", min=1)] = 3,
    output: Annotated[Path | None, typer.Option(help="Write the figures as JSON.")] = None,
) -> None:
    """Measure the latency of the embedded checkpoint on this machine."""
    bars, figures = measure(repeats)
    table = bar_table("nano, ten sentences", bars)
    for name in ("first_audio_ms", "audio_s", "total_s", "rtf", "unstreamed_s"):
        table.add_row(name, f"{figures[name]:.3f}", "", "")
    Console().print(table)
    if output is not None:
        output.write_text(json.dumps({"bars": [asdict(b) for b in bars], **figures}, indent=1))
    if not all(bar.ok for bar in bars):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
