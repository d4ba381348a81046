"""Chunks as they are told of: encoded, timed, subtitled, with their quality."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from streaming import wire
from streaming.effects import Audio, Effect
from streaming.events import AudioFrame
from streaming.session import Session
from tests.streaming.sessions import (
    GREETING,
    LIMITS,
    chunk_done,
    frame,
    kinds,
    messages,
    new_session,
    send,
    spoken,
    started,
)


class Counting:
    """An encoder that is late: it gives what it got one call earlier, in capital letters."""

    def __init__(self, audio_format: str, sample_rate_hz: int) -> None:
        self.head = f"<{audio_format} {sample_rate_hz}>".encode()
        self.held = b""

    def encode(self, pcm: bytes) -> bytes:
        held, self.held = self.held, self.head + b"x" * (len(pcm) // 2)
        self.head = b""
        return held

    def finish(self) -> bytes:
        return self.held + b"</>"


def encoding_session() -> Session:
    return Session(
        greeting=GREETING,
        limits=LIMITS,
        check=lambda _: None,
        now_s=0.0,
        make_encoder=Counting,
    )


def audio(effects: list[Effect]) -> list[Audio]:
    return [effect for effect in effects if isinstance(effect, Audio)]


@pytest.mark.parametrize("encoding", ["binary", "base64"])
def test_every_chunk_is_a_file_of_its_own(encoding: str) -> None:
    session = encoding_session()
    send(session, "session.config", format="mp3", encoding=encoding)
    send(session, "input.text", text="Hello there")
    effects: list[Effect] = []
    for index in range(2):
        effects += session.event(0, started(index=index, first_sample=5 * index), 0.0)
        effects += session.event(0, frame(3, 5 * index), 0.0)
        effects += session.event(0, frame(2, 5 * index + 3), 0.0)
        effects += session.event(0, chunk_done(5, index=index), 0.0)
    assert kinds(effects) == ["audio.start", "Audio", "Audio", "audio.done"] * 2
    whole = b"<mp3 1000>xxxxx</>"
    assert b"".join(one.data for one in audio(effects)) == whole * 2
    assert [(one.sequence, one.first_sample, one.samples) for one in audio(effects)] == [
        (0, 0, 5),
        (1, 5, 0),
        (2, 5, 5),
        (3, 10, 0),
    ]
    dones = [m for m in messages(effects) if isinstance(m, wire.AudioDone)]
    assert [(m.samples, m.total_bytes) for m in dones] == [(5, len(whole))] * 2
    assert {m.format for m in messages(effects) if isinstance(m, wire.AudioStart)} == {"mp3"}
    if encoding == "base64":
        payloads = [one.payload for one in audio(effects)]
        assert all(isinstance(payload, wire.AudioDelta) for payload in payloads)
        coded = [p.audio for p in payloads if isinstance(p, wire.AudioDelta)]
        assert b"".join(map(base64.b64decode, coded)) == whole * 2


def speak(session: Session, text: str = "Hello you", index: int = 0) -> list[wire.ServerMessage]:
    """A chunk of a second and a tenth, at 1000 Hz, after as many others."""
    tone = (8_000 * np.sin(np.arange(1_000))).astype("<i2").tobytes() + bytes(200)
    first = 1_100 * index
    effects = session.event(0, started(index=index, text=text, first_sample=first), 0.0)
    for at in range(0, len(tone), 80):
        piece = AudioFrame(pcm=tone[at : at + 80], first_sample=first + at // 2)
        effects += session.event(0, piece, 0.0)
    return messages(effects + session.event(0, chunk_done(1_100, index=index), 0.0))


def quiet_session(**config: Any) -> Session:
    session = new_session()
    send(session, "session.config", **config)
    send(session, "input.text", text="Hello you")
    return session


def test_no_times_unless_asked() -> None:
    *_, done = speak(quiet_session())
    assert isinstance(done, wire.AudioDone)
    assert done.timestamps is None


def test_times_of_chunks_are_exact_and_in_the_context() -> None:
    session = quiet_session(timestamps="chunk")
    *_, first = speak(session)
    *_, second = speak(session, index=1)
    assert isinstance(first, wire.AudioDone) and isinstance(second, wire.AudioDone)
    assert first.timestamps == {"start_ms": 0.0, "end_ms": 1100.0, "estimated": False}
    assert second.timestamps == {"start_ms": 1100.0, "end_ms": 2200.0, "estimated": False}


@pytest.mark.parametrize(
    ("wanted", "name", "texts"),
    [("word", "words", ["Hello", "you"]), ("char", "chars", list("Hello you"))],
)
def test_times_inside_a_chunk_say_that_they_are_estimates(
    wanted: str, name: str, texts: list[str]
) -> None:
    *_, done = speak(quiet_session(timestamps=wanted))
    assert isinstance(done, wire.AudioDone) and done.timestamps is not None
    assert done.timestamps["estimated"] is True
    assert [span["text"] for span in done.timestamps[name]] == texts
    assert done.timestamps[name][-1]["end_ms"] == pytest.approx(1000, abs=30)


def test_times_may_change_from_message_to_message() -> None:
    session = quiet_session()
    send(session, "input.text", text=" more", timestamps="chunk")
    *_, first = speak(session)
    session.event(0, spoken(samples=1_100), 0.0)
    *_, second = speak(session)
    assert isinstance(first, wire.AudioDone) and isinstance(second, wire.AudioDone)
    assert first.timestamps is None
    assert second.timestamps == {"start_ms": 1100.0, "end_ms": 2200.0, "estimated": False}


@pytest.mark.parametrize(("form", "begin"), [("srt", "1\n00:00:00,000"), ("vtt", "WEBVTT\n")])
def test_subtitles_come_with_the_end(form: str, begin: str) -> None:
    session = quiet_session(subtitles=form)
    speak(session)
    speak(session, text="Good bye", index=1)
    send(session, "input.done")
    done = messages(session.event(0, spoken(samples=2_200, chunks=2), 0.0))[-1]
    assert isinstance(done, wire.SessionDone) and done.subtitles is not None
    assert done.subtitles.startswith(begin)
    assert done.subtitles.index("Hello you") < done.subtitles.index("Good bye")


def test_the_quality_of_a_context_sums_up() -> None:
    session = quiet_session()
    speak(session)
    speak(session, index=1)
    send(session, "input.done")
    done = messages(session.event(0, spoken(samples=2_200, characters=6), 0.0))[-1]
    assert isinstance(done, wire.SessionDone)
    assert done.quality == {"retries": 2, "trimmed_ms": 0.0, "coverage": round(6 / 9, 4)}
    assert done.subtitles is None
