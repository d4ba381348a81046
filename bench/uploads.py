"""``scripts/bench uploads``: how soon a voice that is added over HTTP speaks.

Every round adds another voice (other sound, so that nothing is cached), speaks with it as soon as
the answer is there, speaks again, and deletes it. Exit status 1 when the first use is late.
"""

from __future__ import annotations

import io
import json
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import httpx
import soundfile
import typer
from rich.console import Console

from bench.serving import ROOT, running_server

BAR_MS = 1_000.0
SENTENCE = "Hello, this is how I sound."
RECORDING = ROOT / "speakers" / "audio" / "ada.flac"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Milliseconds: from the upload to its answer (checked, encoded, kept), and from there to the
    first audio; the same for a second use.
    """

    rounds: int
    upload_p50_ms: float
    first_use_p50_ms: float
    first_use_max_ms: float
    second_use_p50_ms: float


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Voices to add, one after another.")] = 10,
    output: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
) -> None:
    """Add voices to a server with nano and speak with each at once."""
    uploads, firsts, seconds = [], [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server("--voices-dir", folder) as served,
        httpx.Client(base_url=served.url, timeout=120.0, trust_env=False) as client,
    ):
        for number in range(rounds):
            files = {"recordings": ("voice.wav", _recording(number))}
            fields = {"name": f"round-{number}", "consent": "synthetic, belongs to nobody"}
            began_s = time.perf_counter()
            answer = client.post("/v1/voices", data=fields, files=files)
            answer.raise_for_status()
            uploads.append((time.perf_counter() - began_s) * 1000)
            firsts.append(_first_audio_ms(client, f"round-{number}"))
            seconds.append(_first_audio_ms(client, f"round-{number}"))
            client.delete(f"/v1/voices/round-{number}").raise_for_status()
    figures = Figures(
        rounds=rounds,
        upload_p50_ms=statistics.median(uploads),
        first_use_p50_ms=statistics.median(firsts),
        first_use_max_ms=max(firsts),
        second_use_p50_ms=statistics.median(seconds),
    )
    text = json.dumps(asdict(figures), indent=1)
    Console(highlight=False).print(text)
    if output is not None:
        output.write_text(text)
    if figures.first_use_max_ms > BAR_MS:
        raise typer.Exit(1)


def _recording(number: int) -> bytes:
    """The beginning of a shipped recording, a little shorter every time."""
    samples, rate_hz = soundfile.read(RECORDING, dtype="float32")
    file = io.BytesIO()
    soundfile.write(file, samples[: len(samples) - 100 * number], rate_hz, format="WAV")
    return file.getvalue()


def _first_audio_ms(client: httpx.Client, voice: str) -> float:
    body = {"input": SENTENCE, "voice": voice, "response_format": "pcm", "seed": 1}
    began_s = time.perf_counter()
    with client.stream("POST", "/v1/audio/speech", json=body) as answer:
        answer.raise_for_status()
        pieces = answer.iter_bytes()
        next(pieces)
        first_ms = (time.perf_counter() - began_s) * 1000
        for _ in pieces:
            pass
    return first_ms


if __name__ == "__main__":
    typer.run(main)
