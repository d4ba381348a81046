"""``scripts/bench voice``: how well the embedded checkpoint is understood, and whose voice it has.

A real server is started, the judge's sentences are spoken through the real client, one stream at a
time; then two speakers read at once. After the server has ended, listeners from packages judge what
was heard. Exit status 1 when a bar is missed.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import soundfile
import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table

from bench.bars import Bar, bar_table
from bench.jury import (
    RATE_HZ,
    SENTENCES,
    Jury,
    SpeakerScore,
    Utterance,
    Verdict,
    chosen_sentences,
    score,
)
from bench.latency import TEXT
from bench.mixed import Judged
from bench.serving import PeakMemory, Served, running_server
from client.connection import Audio, connect
from client.metrics import Meter, Metrics
from server.compose import shipped_speakers
from speakers.catalog import Catalog, load_catalog
from streaming.errors import SpeechError

app = typer.Typer(add_completion=False)

SEED = 7
SHORTEST_BYTES = RATE_HZ
"""Half a second: listeners need something to listen to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """An utterance of a speaker, how it came in, and the error that ended it."""

    speaker: str
    utterance: Utterance
    metrics: Metrics
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFigures:
    """The server while it spoke; the gaps are those of two streams at once."""

    ready_s: float
    peak_memory_mb: float
    pair_rtf: float
    pair_gaps: int
    pair_longest_gap_ms: float


async def read(url: str, speaker: str, asked: Judged) -> Reading:
    """Speak one text over the native WebSocket; what fails is heard as far as it came."""
    meter, heard, failure = Meter(), b"", ""
    async with connect(url, {"voice": speaker, "sampling": {"seed": SEED}}) as connection:
        context = connection.context()
        meter.ask(time.monotonic())
        await context.send(asked.text)
        await context.done()
        try:
            async for event in context:
                if isinstance(event, Audio):
                    meter.hear(event.received_s, event.samples, event.sample_rate_hz)
                    heard += event.pcm
        except SpeechError as error:
            failure = str(error)
    samples = np.frombuffer(heard.ljust(SHORTEST_BYTES, b"\0"), "<i2").astype(np.float32) / 32768.0
    return Reading(
        speaker=speaker,
        utterance=Utterance(asked=asked, samples=samples),
        metrics=meter.metrics(),
        failure=failure,
    )


async def read_together(url: str, speakers: Sequence[str]) -> list[Metrics]:
    """Several streams of the latency benchmark's text at once."""
    asked = Judged(text=TEXT, spoken=TEXT)
    readings = await asyncio.gather(*(read(url, speaker, asked) for speaker in speakers))
    return [reading.metrics for reading in readings]


def measure(
    served: Served, speakers: Sequence[str], sentences: Sequence[Judged], progress: Progress
) -> tuple[list[Reading], ServerFigures]:
    """All sentences by all speakers, one after the other, then two streams at once."""
    readings = []
    task = progress.add_task("speaking", total=len(speakers) * len(sentences))
    with PeakMemory(served) as memory:
        for speaker in speakers:
            asyncio.run(read(served.url, speaker, sentences[0]))  # its voice is encoded now
            for asked in sentences:
                readings.append(asyncio.run(read(served.url, speaker, asked)))
                progress.advance(task)
        pair = asyncio.run(read_together(served.url, (speakers[0], speakers[-1])))
    figures = ServerFigures(
        ready_s=served.ready_s,
        peak_memory_mb=memory.bytes / 1e6,
        pair_rtf=max(one.rtf or 0.0 for one in pair),
        pair_gaps=sum(one.gaps for one in pair),
        pair_longest_gap_ms=max(one.longest_gap_ms for one in pair),
    )
    return readings, figures


def listen(jury: Jury, readings: Sequence[Reading], progress: Progress) -> list[Verdict]:
    """What the jury says of every reading."""
    task = progress.add_task("listening", total=len(readings))
    verdicts = []
    for reading in readings:
        verdicts.append(jury.hear(reading.speaker, reading.utterance))
        progress.advance(task)
    return verdicts


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerFigures:
    """What the listeners say of a speaker, and how fast it spoke; the silences are the longest."""

    score: SpeakerScore
    rtf: float
    first_audio_ms: float


def by_speaker(readings: Sequence[Reading], verdicts: Sequence[Verdict]) -> list[SpeakerFigures]:
    """Readings and their verdicts, summed for each speaker."""
    figures = []
    for speaker in dict.fromkeys(reading.speaker for reading in readings):
        own = [reading.metrics for reading in readings if reading.speaker == speaker]
        heard = [v for r, v in zip(readings, verdicts, strict=True) if r.speaker == speaker]
        figures.append(
            SpeakerFigures(
                score=score(speaker, heard),
                rtf=sum(m.total_s for m in own) / max(1e-9, sum(m.audio_s for m in own)),
                first_audio_ms=statistics.median(m.first_audio_ms or 0.0 for m in own),
            )
        )
    return figures


def bars(speakers: Sequence[SpeakerFigures], server: ServerFigures) -> list[Bar]:
    """What is asked of the checkpoint and of the server."""
    scores = [figures.score for figures in speakers]

    def mean(name: str) -> float:
        return float(statistics.mean(getattr(one, name) for one in scores))

    return [
        Bar(name="WER, mean over speakers", value=mean("wer"), limit=0.15),
        Bar(name="WER, worst speaker", value=max(one.wer for one in scores), limit=0.22),
        Bar(name="CER, mean over speakers", value=mean("cer"), limit=0.07),
        Bar(name="p808, mean over speakers", value=mean("p808"), limit=3.2, at_least=True),
        Bar(name="identity right", value=mean("identity"), limit=0.95, at_least=True),
        Bar(
            name="similarity, worst speaker",
            value=min(one.similarity for one in scores),
            limit=0.70,
            at_least=True,
        ),
        Bar(name="leading silence, s", value=max(one.leading_s for one in scores), limit=0.15),
        Bar(name="trailing silence, s", value=max(one.trailing_s for one in scores), limit=0.3),
        Bar(name="RTF", value=statistics.mean(one.rtf for one in speakers), limit=0.5),
        Bar(name="gaps, two streams", value=server.pair_gaps, limit=0),
        Bar(name="start to ready, s", value=server.ready_s, limit=15.0),
        Bar(name="peak memory, MB", value=server.peak_memory_mb, limit=1200.0),
    ]


def speaker_table(speakers: Sequence[SpeakerFigures], title: str) -> Table:
    """One row per speaker."""
    table = Table(title=title)
    headings = (
        "WER",
        "CER",
        "p808",
        "identity",
        "similarity",
        "RTF",
        "first audio",
        "lead",
        "tail",
    )
    for heading in ("speaker", *headings):
        table.add_column(heading, justify="left" if heading == "speaker" else "right")
    for figures in speakers:
        one = figures.score
        table.add_row(
            one.speaker,
            *(f"{rate:.1%}" for rate in (one.wer, one.cer)),
            f"{one.p808:.2f}",
            f"{one.identity:.0%}",
            f"{one.similarity:.2f}",
            f"{figures.rtf:.2f}",
            f"{figures.first_audio_ms:.0f} ms",
            *(f"{silence_s:.2f} s" for silence_s in (one.leading_s, one.trailing_s)),
        )
    return table


def chosen_speakers(catalog: Catalog, names: str) -> list[str]:
    """The speakers of ``names``, separated by commas; all of them for ``all``."""
    if names == "all":
        return [speaker.name for speaker in catalog.speakers if speaker.unavailable is None]
    return [catalog.resolve(name).name for name in names.split(",")]


def keep_audio(folder: Path, readings: Sequence[Reading]) -> None:
    """Write every reading as a WAV file named after its speaker and place."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, reading in enumerate(readings):
        path = folder / f"{reading.speaker}-{index:03}.wav"
        soundfile.write(path, reading.utterance.samples, RATE_HZ)


@app.command()
def main(
    speakers: Annotated[str, typer.Option(help="Names by commas, or 'all'.")] = "all",
    sentences: Annotated[str, typer.Option(help="harvard, mixed or all.")] = "all",
    count: Annotated[int | None, typer.Option(help="At most so many of each set.", min=1)] = None,
    model: Annotated[str, typer.Option(help="Checkpoint that the server loads.")] = "nano",
    registry: Annotated[Path | None, typer.Option(help="Another speaker.json.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write all figures as JSON.")] = None,
    audio: Annotated[Path | None, typer.Option(help="Keep what was heard in a folder.")] = None,
) -> None:
    """Measure how well the embedded checkpoint is understood, by whom it seems spoken, how fast."""
    if sentences not in (*SENTENCES, "all"):
        raise typer.BadParameter(f"choose one of {', '.join((*SENTENCES, 'all'))}")
    registry = registry or shipped_speakers()
    catalog = load_catalog(registry)
    names, asked = chosen_speakers(catalog, speakers), chosen_sentences(sentences, count)
    console = Console()
    columns = (*Progress.get_default_columns()[:-1], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        with running_server("--model", model, "--voices", str(registry)) as served:
            readings, server = measure(served, names, asked, progress)
        if audio is not None:
            keep_audio(audio, readings)
        verdicts = listen(Jury(catalog), readings, progress)
    figures = by_speaker(readings, verdicts)
    checked = bars(figures, server)
    console.print(speaker_table(figures, f"{len(asked)} sentences per speaker"))
    console.print(bar_table("nano", checked))
    if output is not None:
        text = json.dumps(document(figures, server, checked, readings, verdicts), indent=1)
        output.write_text(text + "\n", encoding="utf-8")
    raise typer.Exit(int(not all(bar.ok for bar in checked)))


def document(
    figures: Sequence[SpeakerFigures],
    server: ServerFigures,
    checked: Sequence[Bar],
    readings: Sequence[Reading],
    verdicts: Sequence[Verdict],
) -> dict[str, Any]:
    """Everything that was measured, for JSON."""
    return {
        "bars": [{**asdict(bar), "ok": bar.ok} for bar in checked],
        "speakers": [
            {**asdict(one.score), "rtf": one.rtf, "first_audio_ms": one.first_audio_ms}
            for one in figures
        ],
        "server": asdict(server),
        "utterances": [
            {
                "speaker": reading.speaker,
                "failure": reading.failure,
                **asdict(reading.metrics),
                **asdict(verdict.heard),
                **{name: value for name, value in asdict(verdict).items() if name != "heard"},
            }
            for reading, verdict in zip(readings, verdicts, strict=True)
        ],
    }


if __name__ == "__main__":
    app()
