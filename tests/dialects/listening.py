"""What clients of other services have in common in the tests: a text, and a judgement of sound."""

from __future__ import annotations

import asyncio
import time

import numpy as np

from tests.dialects.conftest import TONE_HZ
from tests.server.rooms import Room, eventually
from tests.server.sounds import pitch_hz

TOKENS = (
    "Hello ",
    "there, this ",
    "is the first sentence. ",
    "And here ",
    "is another one ",
    "that is a bit longer.",
)
TEXT = "".join(TOKENS)
LONG = TOKENS * 8


def check_whole(room: Room, pcm: bytes, rate_hz: int) -> None:
    """``TEXT`` came out whole: as long as the model made it, and at the voice's pitch."""
    samples = np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)
    spoken = [text for kind, text, _ in room.model.log if kind == "end"]
    assert "".join("".join(spoken).split()) == "".join(TEXT.split())
    made_s = sum(room.model.samples_of(text) for text in spoken) / room.model.info.sample_rate_hz
    gaps_s = 0.2 * len(spoken)
    assert made_s - 0.1 <= len(samples) / rate_hz <= made_s + gaps_s
    assert abs(pitch_hz(samples, rate_hz) / TONE_HZ - 1) < 0.001


async def check_silence(room: Room, within_s: float = 1.0) -> None:
    """The engine stops, and begins nothing any more."""

    async def silent() -> bool:
        return room.model.live == 0 and room.service.admission.active == 0

    asked_s = time.monotonic()
    await eventually(silent)
    assert time.monotonic() - asked_s < within_s
    entries = len(room.model.log)
    await asyncio.sleep(0.2)
    assert len(room.model.log) == entries
    begun = [entry for entry in room.model.log if entry[0] == "begin"]
    assert len(begun) < 4, "most of the text was spoken to nobody"
    room.model.log.clear()
