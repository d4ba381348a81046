"""The server around a model that costs nothing: a tone after a programmed time.

What is left to measure is the server. ``python -m bench.tone_server --port 0`` starts it.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
import typer

from server import logs
from server.cli import run
from server.config import Settings
from server.service import SynthesisService
from speakers.registry import Registry
from speakers.voices import VoiceCache
from streaming.pipeline import SpeechPipeline
from streaming.session import Limits
from streaming.speech import ChunkReport, Prepared, Samples, Take
from tests.fakes import Tone, ToneModel, ToneScript
from tests.server.rooms import write_speakers

SLICE_MS = 100.0


class CheapTone(ToneModel):
    """Computes each slice once and gives it when it is due: ``codes`` after the beginning the
    first, each other one ``slice`` later.
    """

    async def speak(
        self, prepared: Prepared, take: Take[Tone]
    ) -> AsyncIterator[Samples | ChunkReport]:
        """The slices, each at its time."""
        due_s = time.monotonic() + self.script.delay_s["codes"]
        step = round(self.script.slice_ms * self.info.sample_rate_hz / 1000)
        left = self.samples_of(prepared.text)
        while left > 0:
            await asyncio.sleep(due_s - time.monotonic())
            due_s += self.script.delay_s["slice"]
            yield _tone(min(step, left), take.voice.frequency_hz)
            left -= step
        yield ChunkReport(codes=len(prepared.token_ids))


@lru_cache(maxsize=1024)
def _tone(samples: int, frequency_hz: float) -> Samples:
    at = np.arange(samples, dtype=np.float32)
    return 0.5 * np.sin(2 * np.pi * frequency_hz * at / 22_050).astype(np.float32)


def main(
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 6008,
    first_ms: Annotated[float, typer.Option(help="Until a chunk's first slice is there.")] = 100.0,
    rtf: Annotated[float, typer.Option(help="Seconds of computing per second of audio.")] = 0.3,
    active: Annotated[int, typer.Option(help="Places.")] = 64,
    queued: Annotated[int, typer.Option(help="Seats.")] = 32,
    log: Annotated[Path | None, typer.Option(help="Write a log in JSON.")] = None,
) -> None:
    """Serve tones."""
    delay_s = {"codes": first_ms / 1000, "slice": rtf * SLICE_MS / 1000}
    script = ToneScript(delay_s=delay_s, slice_ms=SLICE_MS)
    limits = Limits(active_requests=active, queued_requests=queued)
    settings = Settings(port=port, limits=limits, warm_text="")
    with tempfile.TemporaryDirectory() as folder, Path(log or os.devnull).open("w") as stream:
        logs.configure(style="json", level="info" if log else "error", stream=stream)
        run(settings, _composer(script, Path(folder)))


def _composer(script: ToneScript, folder: Path) -> Any:
    def compose(settings: Settings, progress: Any) -> SynthesisService[Tone]:
        model = CheapTone(script=script)
        return SynthesisService(
            model=model,
            pipeline=SpeechPipeline(model),
            voices=VoiceCache(model),
            registry=Registry(write_speakers(folder)),
            settings=settings,
        )

    return SimpleNamespace(compose=compose, OPERATOR_ERRORS=(OSError,))


if __name__ == "__main__":
    typer.run(main)
