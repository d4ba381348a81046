"""``scripts/bench voice``: what a recogniser understands of the embedded checkpoint.

A real server is started, the judge's sentences are spoken through the real client, and Whisper
tiny.en writes down what it hears. Exit status 1 when a voice is above ``--bar``.
"""

from __future__ import annotations

import asyncio
import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from bench.harvard import HARVARD
from bench.listeners import Heard, Recogniser, Samples, SpeakerEar, naturalness, rates
from bench.serving import running_server
from client.connection import Audio, connect
from server.compose import shipped_speakers
from speakers.catalog import Catalog, load_catalog

SEED = 7
RATE_HZ = 22050


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceScore:
    """Scores of one voice: error rates, DNSMOS P.808, likeness to its own and the other voices."""

    voice: str
    wer: float
    cer: float
    p808: float
    own: float
    others: float
    sentences: list[Heard]


async def speak_all(url: str, voice: str, texts: tuple[str, ...]) -> list[Samples]:
    """Each text as a context of its own, float32 at 22,050 Hz."""
    spoken = []
    async with connect(url, {"voice": voice, "sampling": {"seed": SEED}}) as connection:
        for text in texts:
            context = connection.context()
            await context.send(text)
            await context.done()
            pcm = b"".join([e.pcm async for e in context if isinstance(e, Audio)])
            spoken.append(np.frombuffer(pcm, "<i2").astype(np.float32) / 32768.0)
    return spoken


def likeness(ear: SpeakerEar, catalog: Catalog, spoken: list[Samples]) -> dict[str, float]:
    """Mean cosine of what was spoken to the recordings of each voice."""
    vectors = np.stack([ear.vector(wave, RATE_HZ) for wave in spoken])
    near = {}
    for speaker in catalog.speakers:
        if speaker.unavailable is None:
            recording = speaker.load()[0]
            known = ear.vector(recording.samples, recording.sample_rate_hz)
            near[speaker.name] = float((vectors @ known).mean())
    return near


def score(url: str, voice: str, catalog: Catalog, recogniser: Recogniser) -> VoiceScore:
    """Speak the judge's sentences with ``voice`` and listen."""
    spoken = asyncio.run(speak_all(url, voice, HARVARD))
    heard = [recogniser.hear(t, w, RATE_HZ) for t, w in zip(HARVARD, spoken, strict=True)]
    near, total = likeness(SpeakerEar(), catalog, spoken[:6]), rates(heard)
    return VoiceScore(
        voice=voice,
        wer=total.word,
        cer=total.character,
        p808=statistics.mean(naturalness(wave, RATE_HZ) for wave in spoken[:6]),
        own=near[voice],
        others=max(value for name, value in near.items() if name != voice),
        sentences=heard,
    )


def show(scores: list[VoiceScore], console: Console) -> None:
    """The scores as a table, and what was understood of the first voice."""
    table = Table(title="20 Harvard sentences, Whisper tiny.en, each capped at 100 %")
    for column in ("voice", "WER", "CER", "p808", "likeness", "nearest other"):
        table.add_column(column, justify="left" if column == "voice" else "right")
    for s in scores:
        figures = (f"{s.p808:.2f}", f"{s.own:.2f}", f"{s.others:.2f}")
        table.add_row(s.voice, f"{s.wer:.1%}", f"{s.cer:.1%}", *figures)
    console.print(table)
    for sentence in scores[0].sentences:
        console.print(
            f"{sentence.word_errors:2}/{sentence.words:2}  {sentence.reference} | {sentence.text}",
            markup=False,
            highlight=False,
        )


def main(
    voices: Annotated[str, typer.Option(help="Names, by commas; 'all'; the default voice.")] = "",
    model: Annotated[str, typer.Option(help="Checkpoint that the server loads.")] = "nano",
    bar: Annotated[float, typer.Option(help="Highest word error rate that passes.")] = 0.5,
    output: Annotated[Path | None, typer.Option(help="Write the scores as JSON.")] = None,
) -> None:
    """Measure how well the embedded checkpoint can be understood."""
    catalog = load_catalog(shipped_speakers())
    names = [s.name for s in catalog.speakers] if voices == "all" else voices.split(",")
    chosen = [name or catalog.default.name for name in names]
    recogniser = Recogniser()
    with running_server("--model", model) as url:
        scores = [score(url, name, catalog, recogniser) for name in chosen]
    show(scores, Console())
    if output is not None:
        text = json.dumps([asdict(s) for s in scores], indent=2, ensure_ascii=False)
        output.write_text(text + "\n", encoding="utf-8")
    raise typer.Exit(int(any(s.wer > bar for s in scores)))


if __name__ == "__main__":
    typer.run(main)
