"""The commands of ``indextts-client``: say, stream, voices."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from client import voices
from client.connection import connect
from client.http import HttpClient
from client.outcome import EXIT_REFUSED, EXIT_STOPPED, Json, Url, WaitReady, api_key, guard
from client.playback import MAX_AHEAD_S, Output, SilentOutput, find_output
from client.recording import check_target
from client.show import consoles, report_json, report_table
from client.speaking import Piece, Report, Sinks, speak
from client.stdin import open_stdin, read_pieces
from client.urls import DEFAULT_URL
from streaming.errors import InputError
from streaming.fields import parse_fields
from streaming.request import EMOTIONS

app = typer.Typer(
    name="indextts-client",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Speaks through an IndexTTS-Stream server and measures what a listener notices.",
    epilog="Exit codes: 0 spoken, 1 the server refused or failed or there was nothing to speak, "
    "2 wrong usage, 3 no server or connection lost, 4 something is not installed, "
    "130 stopped with Ctrl-C.",
)


app.add_typer(voices.app, name="voices")


class By(StrEnum):
    """How ``stream`` cuts its input."""

    LINE = "line"
    TOKEN = "token"


VoiceName = Annotated[
    str | None,
    typer.Option("--voice", help="Who speaks.", show_default="the first of `voices`"),
]
OutputFile = Annotated[
    Path | None, typer.Option("--output", "-o", help="WAV file to write, - for standard output.")
]
Play = Annotated[
    bool | None,
    typer.Option(
        "--play/--no-play",
        help="Play it, in real time even without a device.",
        show_default="play, unless --output is given",
    ),
]
Language = Annotated[str | None, typer.Option(help="Language of the text, such as en or zh.")]
EmotionName = Annotated[
    str | None,
    typer.Option("--emotion", help=f"One of {', '.join(EMOTIONS)}; or their 8 values, 0 to 1."),
]
Seed = Annotated[int | None, typer.Option(help="The same seed gives the same sound.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything the options say."""

    url: str
    config: dict[str, Any]
    output: Path | None
    play: bool
    wait_ready_s: float
    json: bool

    @property
    def to_stdout(self) -> bool:
        """Whether the audio goes to standard output."""
        return self.output is not None and str(self.output) == "-"


@app.command()
def say(
    text: Annotated[str, typer.Argument(help="What to say.")],
    url: Url = DEFAULT_URL,
    voice: VoiceName = None,
    output: OutputFile = None,
    play: Play = None,
    language: Language = None,
    emotion: EmotionName = None,
    seed: Seed = None,
    wait_ready: WaitReady = 0.0,
    as_json: Json = False,
) -> None:
    """Say TEXT."""

    async def pieces() -> AsyncIterator[Piece]:
        yield Piece(text=text)

    config = _config(voice, language, emotion, seed)
    _run(_job(url, config, output, play, wait_ready, as_json), pieces)


@app.command()
def stream(
    by: Annotated[By, typer.Option(help="Send whole lines, or every word as it comes.")] = By.LINE,
    url: Url = DEFAULT_URL,
    voice: VoiceName = None,
    output: OutputFile = None,
    play: Play = None,
    language: Language = None,
    emotion: EmotionName = None,
    seed: Seed = None,
    wait_ready: WaitReady = 0.0,
    as_json: Json = False,
) -> None:
    """Say what comes from standard input while it is still being written.

    By line, a blank line has everything so far spoken; typed at a terminal, every line does.
    """

    def pieces() -> AsyncIterator[Piece]:
        return read_pieces(open_stdin(), by_line=by is By.LINE, interactive=sys.stdin.isatty())

    config = _config(voice, language, emotion, seed)
    _run(_job(url, config, output, play, wait_ready, as_json), pieces)


def _config(
    voice: str | None, language: str | None, emotion: str | None, seed: int | None
) -> dict[str, Any]:
    """The fields of ``session.config``; raises ``typer.BadParameter``."""
    config: dict[str, Any] = {}
    if voice is not None:
        config["voice"] = voice
    if language is not None:
        config["language"] = language
    if emotion is not None:
        config["emotion"] = {"vector": _vector(emotion)}
    if seed is not None:
        config["sampling"] = {"seed": seed}
    try:
        parse_fields(config)
    except InputError as error:
        raise typer.BadParameter(error.message) from error
    return config


def _vector(emotion: str) -> list[float]:
    if emotion in EMOTIONS:
        return [float(name == emotion) for name in EMOTIONS]
    try:
        return [float(value) for value in emotion.replace(",", " ").split()]
    except ValueError as error:
        raise typer.BadParameter(
            f"an emotion is one of {', '.join(EMOTIONS)}, or their 8 values"
        ) from error


def _job(
    url: str,
    config: dict[str, Any],
    output: Path | None,
    play: bool | None,
    wait_ready_s: float,
    as_json: bool,
) -> Job:
    job = Job(
        url=url,
        config=config,
        output=output,
        play=output is None if play is None else play,
        wait_ready_s=wait_ready_s,
        json=as_json,
    )
    if job.to_stdout and job.json:
        raise typer.BadParameter("--output - and --json cannot both have standard output")
    return job


def _run(job: Job, pieces: Callable[[], AsyncIterator[Piece]]) -> None:
    """Speak, show the report, and end with the exit code it deserves."""
    report = guard(_perform(job, pieces()), as_json=job.json)
    results, notes = consoles(to_stderr=job.to_stdout)
    for warning in report.warnings:
        notes.print(f"warning: {warning}", markup=False, soft_wrap=True)
    output = str(job.output) if job.output is not None else None
    if job.json:
        print(report_json(report, output))
    else:
        results.print(report_table(report, output))
    if report.cancelled:
        raise typer.Exit(EXIT_STOPPED)
    if not report.samples:
        raise typer.Exit(EXIT_REFUSED)


async def _perform(job: Job, pieces: AsyncIterator[Piece]) -> Report:
    if job.output is not None and not job.to_stdout:
        check_target(job.output)
    if job.wait_ready_s:
        async with HttpClient(job.url, key=api_key()) as client:
            await client.wait_ready(job.wait_ready_s)
    target: Path | BinaryIO | None = sys.stdout.buffer if job.to_stdout else job.output
    # A player wants no more ahead than it can hold; otherwise as fast as the server can.
    pace = {"max_lead_s": MAX_AHEAD_S} if job.play else {}
    async with connect(job.url, {**job.config, **pace}, key=api_key()) as connection:
        sinks = Sinks(target=target, output=_output() if job.play else None)
        with _stopping(sinks.stop):
            return await speak(connection, pieces, sinks)


def _output() -> Output:
    output = find_output()
    if isinstance(output, SilentOutput):
        consoles(to_stderr=True)[1].print(
            "no sound device (or no sounddevice package): playing to nobody, in real time"
        )
    return output


@contextmanager
def _stopping(stop: asyncio.Event) -> Iterator[None]:
    """The first Ctrl-C sets ``stop``, the second one has its usual effect."""
    loop = asyncio.get_running_loop()
    usual = signal.getsignal(signal.SIGINT)

    def on_interrupt(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, usual)
        loop.call_soon_threadsafe(stop.set)

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
