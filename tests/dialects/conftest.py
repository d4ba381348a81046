"""A server whose every voice is a 440 Hz tone, for the clients of other services."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from streaming.speech import Recording
from tests.fakes import Tone, ToneScript
from tests.server.rooms import Room, make_room, serving

TONE_HZ = 440.0

BRISK = ToneScript(characters_per_second=30.0)
PATIENT = ToneScript(characters_per_second=15.0, delay_s={"slice": 0.03})
"""A third of a second of work for a second of audio: there is time to interrupt it."""


async def _tuned(_: Sequence[Recording]) -> Tone:
    return Tone(frequency_hz=TONE_HZ)


@pytest.fixture
async def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Room]:
    made = make_room(tmp_path, BRISK)
    monkeypatch.setattr(made.model, "encode", _tuned)
    async with serving(made):
        yield made


@pytest.fixture
async def slow_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Room]:
    made = make_room(tmp_path, PATIENT)
    monkeypatch.setattr(made.model, "encode", _tuned)
    async with serving(made):
        yield made
