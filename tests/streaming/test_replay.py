"""A listener who lost its socket hears every sample once, and is told what it may have missed."""

from __future__ import annotations

import random

import pytest

from streaming import wire
from streaming.effects import Audio, Effect, Resume, Send, Stop
from streaming.errors import ResumeExpired
from streaming.replay import KEPT_S, Replay
from streaming.session import Session
from tests.streaming.sessions import (
    chunk_done,
    failure,
    frame,
    messages,
    new_session,
    send,
    spoken,
    started,
)


class Line:
    """A session whose client may lose its socket; frames have 10 samples, chunks 3 frames."""

    def __init__(self, most_bytes: int = 100_000, **config: object) -> None:
        self.session: Session = new_session()
        self.replay = Replay(most_bytes=most_bytes)
        self.now_s = 0.0
        send(self.session, "session.config", **config)  # type: ignore[arg-type]

    def carry(self, effects: list[Effect]) -> list[Effect]:
        for effect in effects:
            self.replay.keep(effect, self.now_s)
        return effects

    def text(self, context_id: str = "c") -> None:
        self.carry(send(self.session, "input.text", text="Hello", context_id=context_id))

    def chunk(self, number: int = 0, index: int = 0, first: int = 0) -> list[Effect]:
        effects = self.carry(
            self.session.event(number, started(index=index, first_sample=first), 0.0)
        )
        for at in range(3):
            piece = frame(10, first + 10 * at)
            effects += self.carry(self.session.event(number, piece, 0.0))
        return effects + self.carry(self.session.event(number, chunk_done(30, index=index), 0.0))

    def end(self, number: int = 0, samples: int = 30, context_id: str = "c") -> list[Effect]:
        self.carry(send(self.session, "input.done", context_id=context_id))
        return self.carry(self.session.event(number, spoken(samples=samples), 0.0))

    def resume(self, **next_sample: int) -> list[Effect]:
        return self.session.resume(next_sample, self.replay)


def shape(effects: list[Effect]) -> list[tuple[str, int]]:
    """Kinds of what is sent again; audio by its first sample."""
    found: list[tuple[str, int]] = []
    for effect in effects:
        if isinstance(effect, Audio):
            found.append(("audio", effect.first_sample))
        elif isinstance(effect, Send):
            message = effect.message
            place = message.first_sample if isinstance(message, wire.AudioStart) else 0
            place = message.next_sample if isinstance(message, wire.SessionResumed) else place
            found.append((message.type, place))
    return found


def test_it_goes_on_at_the_next_sample_even_inside_a_frame() -> None:
    line = Line()
    line.text()
    line.chunk()
    line.chunk(index=1, first=30)
    again = line.resume(c=45)
    assert shape(again) == [
        ("session.resumed", 45),
        ("audio.start", 30),
        ("audio", 45),
        ("audio", 50),
        ("audio.done", 0),
    ]
    cut = next(effect for effect in again if isinstance(effect, Audio))
    assert (cut.samples, len(cut.data)) == (5, 10)
    resumed = messages(again)[0]
    assert resumed == wire.SessionResumed(
        context_id="c", next_sample=45, state="open", characters_in=5
    )


@pytest.mark.parametrize("framing", ["plain", "tagged"])
def test_every_sample_is_heard_once_wherever_the_line_broke(framing: str) -> None:
    for heard in range(61):
        line = Line(framing=framing)
        line.text()
        line.chunk()
        line.chunk(index=1, first=30)
        audio = [effect for effect in line.resume(c=heard) if isinstance(effect, Audio)]
        at = heard
        for piece in audio:
            assert piece.first_sample == at
            assert len(piece.data) == 2 * piece.samples
            at += piece.samples
        assert at == 60
        # What comes next follows without a seam.
        third = line.chunk(index=2, first=60)
        assert next(e for e in third if isinstance(e, Audio)).first_sample == 60


def test_an_end_that_was_missed_is_told_again() -> None:
    line = Line()
    line.text()
    line.chunk()
    line.end()
    assert shape(line.resume(c=30)) == [
        ("session.resumed", 30),
        ("audio.done", 0),
        ("session.done", 0),
    ]
    assert messages(line.resume(c=30))[0] == wire.SessionResumed(
        context_id="c", next_sample=30, state="ended"
    )


def test_a_cancel_that_was_missed_is_told_again() -> None:
    line = Line()
    line.text()
    line.chunk()
    line.carry(send(line.session, "input.cancel", context_id="c"))
    assert shape(line.resume(c=30))[-1] == ("cancelled", 0)


@pytest.mark.parametrize("most_bytes", [1_650, 100_000])
@pytest.mark.parametrize("heard", [0, 15, 30])
def test_what_was_cancelled_is_not_heard_again(heard: int, most_bytes: int) -> None:
    line = Line(most_bytes, framing="tagged")
    line.text()
    line.text("d")
    line.chunk()
    line.chunk(number=1)
    line.carry(send(line.session, "input.cancel", context_id="c"))
    assert line.replay._held_bytes == sum(kept.size for kept in line.replay._kept)
    again = line.resume(c=heard, d=0)
    told = [m.type for m in messages(again) if getattr(m, "context_id", "") == "c"]
    assert told == ["session.resumed", "cancelled"]
    audio = [effect.context_id for effect in again if isinstance(effect, Audio)]
    assert audio == ["d"] * 3


def test_a_long_message_counts_what_it_takes() -> None:
    line = Line()
    line.text()
    line.chunk()
    before = line.replay.total_bytes
    long = wire.Warn(code="queued", message="x" * 10_000, context_id="c")
    line.carry([Send(message=long, context=0)])
    assert 10_000 < line.replay.total_bytes - before < 10_200


def test_contexts_that_are_not_named_go_on_from_their_beginning() -> None:
    line = Line()
    line.text()
    line.chunk()
    assert shape(line.resume())[:3] == [
        ("session.resumed", 0),
        ("audio.start", 0),
        ("audio", 0),
    ]
    line.end()
    assert line.resume() == []


def test_a_name_means_the_oldest_that_lives_or_the_newest_that_ended() -> None:
    line = Line()
    line.text()
    line.chunk()
    line.end()
    line.text()
    line.chunk(number=1)
    assert ("audio", 20) in shape(line.resume(c=20))
    assert len([one for one in shape(line.resume(c=20)) if one[0] == "audio"]) == 1
    line.end(number=1)
    assert shape(line.resume(c=25)) == [
        ("session.resumed", 25),
        ("audio.start", 0),
        ("audio", 25),
        ("audio.done", 0),
        ("session.done", 0),
    ]


def test_a_context_that_never_arrived_is_unknown() -> None:
    line = Line()
    assert messages(line.resume(x=0)) == [
        wire.SessionResumed(context_id="x", next_sample=0, state="unknown")
    ]
    failed = failure(line.resume(x=7))
    assert (failed.code, failed.context_id) == ("resume_expired", "x")


def test_a_claim_of_samples_that_were_not_sent_is_not_believed() -> None:
    line = Line()
    line.text()
    line.chunk()
    assert shape(line.resume(c=1_000))[0] == ("session.resumed", 30)


def test_what_is_not_kept_is_the_end_of_the_context() -> None:
    line = Line(most_bytes=200)
    line.text()
    line.text("d")
    for index in range(20):
        line.chunk(index=index, first=30 * index)
    gone = line.resume(c=0)
    assert failure(gone).code == ResumeExpired.code
    assert any(isinstance(effect, Stop) for effect in gone)
    assert line.session.live == 1
    ended = Line(most_bytes=2_000)
    ended.text()
    for index in range(20):
        ended.chunk(index=index, first=30 * index)
    ended.end(samples=600)
    assert failure(ended.resume(c=1)).context_id == "c"
    assert shape(ended.resume(c=600))[-1] == ("session.done", 0)


def test_bytes_and_seconds_are_bounded() -> None:
    line = Line(most_bytes=5_000)
    line.text()
    for index in range(100):
        line.chunk(index=index, first=30 * index)
        assert line.replay._held_bytes <= 5_000
    assert line.replay.total_bytes > 100_000
    line.now_s = KEPT_S + 1
    line.chunk(index=100, first=3_000)
    assert {kept.at_s for kept in line.replay._kept} == {line.now_s}
    line.now_s = 3 * KEPT_S
    other = send(line.session, "input.cancel", context_id="c")
    line.carry(other)
    line.now_s = 5 * KEPT_S
    line.text("d")
    line.chunk(number=1)
    assert set(line.replay._accounts) == {1}


def test_a_live_context_of_which_nothing_is_kept() -> None:
    line = Line()
    line.text()
    line.chunk()
    line.text("d")
    line.replay = Replay(most_bytes=1_000)
    assert messages(line.resume(c=30))[0] == wire.SessionResumed(
        context_id="c", next_sample=30, state="open", characters_in=5
    )
    assert failure(line.resume(c=29)).code == "resume_expired"


def test_what_was_sent_before_it_was_asked_for_is_not_kept() -> None:
    line = Line()
    line.text()
    line.session.event(0, started(index=0, first_sample=0), 0.0)
    line.session.event(0, frame(10, 0), 0.0)
    line.replay = line.session.replay()
    assert failure(line.resume(c=9)).code == "resume_expired"

    line = Line()
    line.text()
    line.session.event(0, started(index=0, first_sample=0), 0.0)
    line.session.event(0, frame(10, 0), 0.0)
    line.replay = line.session.replay()
    line.carry(line.session.event(0, frame(10, 10), 0.0))
    assert shape(line.resume(c=10)) == [("session.resumed", 10), ("audio", 10)]


def test_encoded_audio_goes_on_at_a_piece() -> None:
    for asked, start in ((0, 0), (5, 0), (10, 10), (29, 20), (30, 30)):
        line = Line()
        line.text()
        effects = line.chunk()
        config = next(e.config for e in effects if isinstance(e, Audio)).updated({"format": "mp3"})
        for kept in list(line.replay._kept):
            if isinstance(kept.effect, Audio):
                object.__setattr__(kept.effect, "config", config)
        assert shape(line.resume(c=asked))[0] == ("session.resumed", start)


def test_resuming_is_asked_for_before_anything_is_spoken() -> None:
    session = new_session()
    (asked,) = send(session, "session.config", resume_token="t", next_sample={"c": 3}, voice="bob")
    assert asked == Resume(
        message=wire.SessionConfig(resume_token="t", next_sample={"c": 3}, changes={"voice": "bob"})
    )
    send(session, "input.text", text="Hello")
    assert failure(send(session, "session.config", resume_token="t")).param == "resume_token"
    assert session.resumable is False
    send(session, "session.config", resume=True)
    assert session.resumable is True


def test_chance_meets_the_promise() -> None:
    chance = random.Random(11)
    for _ in range(200):
        line = Line(framing="tagged", most_bytes=chance.choice((300, 2_000, 100_000)))
        numbers = {"a": 0, "b": 1}
        sent = {"a": 0, "b": 0}
        for name in numbers:
            line.text(name)
        for index in range(chance.randrange(1, 6)):
            for name, number in numbers.items():
                line.chunk(number, index=index, first=sent[name])
                sent[name] += 30
        asked = {name: chance.randrange(sent[name] + 1) for name in numbers}
        again = line.resume(**asked)
        expired = {m.context_id for m in messages(again) if isinstance(m, wire.Failure)}
        for name, number in numbers.items():
            pieces = [e for e in again if isinstance(e, Audio) and e.context == number]
            at = asked[name]
            for piece in pieces:
                assert piece.first_sample == at
                at += piece.samples
            assert at == (asked[name] if name in expired else sent[name])
