"""The session: every cell of its table, turns, limits, accounts, ends."""

from __future__ import annotations

import base64

import pytest

from streaming import wire
from streaming.effects import Audio, Begin, Close, Feed, Finish, Flush, Send, Stop
from streaming.errors import (
    Draining,
    Internal,
    Overloaded,
    Stalled,
    SynthesisFailed,
)
from streaming.events import ChunkStarted, Warned
from streaming.fields import MAX_REFERENCE_BYTES
from streaming.states import State
from tests.streaming.sessions import (
    GREETING,
    chunk_done,
    failure,
    frame,
    kinds,
    messages,
    new_session,
    send,
    session_in,
    spoken,
    started,
    state_of_c,
)


def test_greeting_and_ping() -> None:
    session = new_session()
    assert messages(session.open()) == [GREETING]
    assert messages(send(session, "ping")) == [wire.Pong()]


def test_accounts_go_on_over_chunks_and_runs() -> None:
    session = new_session()
    send(session, "input.text", text="Hello")
    one = [session.event(0, e, 0.0) for e in (started(), frame(60), frame(40), chunk_done(100))]
    send(session, "input.text", text=" you", emotion={"text": "sad"})
    send(session, "input.done")
    session.event(0, spoken(100, 5), 0.0)
    two = [session.event(0, e, 0.0) for e in (started(), frame(50), chunk_done(50))]
    end = session.event(0, spoken(50, 4), 0.0)
    starts = [m for part in one + two for m in messages(part) if isinstance(m, wire.AudioStart)]
    dones = [m for part in one + two for m in messages(part) if isinstance(m, wire.AudioDone)]
    assert [(s.sentence_index, s.first_sample) for s in starts] == [(0, 0), (1, 100)]
    assert [(d.sentence_index, d.samples, d.total_bytes) for d in dones] == [
        (0, 100, 200),
        (1, 50, 100),
    ]
    assert dones[0].quality == {"retries": 1, "trimmed_ms": 0.0}
    (done,) = messages(end)
    assert isinstance(done, wire.SessionDone)
    assert (done.total_sentences, done.total_samples) == (2, 150)
    assert (done.characters_in, done.characters_spoken) == (9, 9)
    assert done.timings == {"first_audio_ms": 5.0, "queue_ms": 1.0, "rtf": 0.5}


def test_a_field_that_changes_nothing_begins_no_run() -> None:
    session = new_session()
    send(session, "session.config", voice="anna")
    send(session, "input.text", text="a", voice="anna", speed=1.0)
    assert kinds(send(session, "input.text", text="b", voice="anna")) == ["Feed"]


def test_an_override_holds_for_its_context_only() -> None:
    session = new_session()
    send(session, "input.text", text="a", voice="bob")
    send(session, "input.done")
    session.event(0, spoken(), 0.0)
    (begin, *_) = send(session, "input.text", text="b")
    assert isinstance(begin, Begin)
    assert begin.config.voice is None


def test_what_holds_for_a_whole_context_cannot_change_inside() -> None:
    session = new_session()
    send(session, "input.text", text="a")
    effects = send(session, "input.text", text="b", sample_rate=8000)
    assert kinds(effects) == ["Stop", "error"]
    assert failure(effects).param == "sample_rate"
    send(session, "input.text", text="a")
    assert failure(send(session, "session.config", framing="tagged")).param == "framing"
    assert failure(send(session, "input.text", text="b", framing="tagged")).param == "framing"


@pytest.mark.parametrize("framing", ["plain", "tagged"])
@pytest.mark.parametrize("encoding", ["binary", "base64"])
def test_sequence_numbers_and_offsets_never_skip(framing: str, encoding: str) -> None:
    session = new_session()
    send(session, "session.config", framing=framing, encoding=encoding)
    send(session, "input.text", text="Hello")
    session.event(0, started(), 0.0)
    payloads = []
    for samples in (10, 20, 30):
        (effect,) = session.event(0, frame(samples), 0.0)
        assert isinstance(effect, Audio)
        assert effect.duration_s == samples / 1000
        payloads.append(effect.payload)
    expected = [(0, 0, 0, bytes(20)), (0, 1, 10, bytes(40)), (0, 2, 30, bytes(60))]
    if encoding == "base64":
        deltas = [p for p in payloads if isinstance(p, wire.AudioDelta)]
        assert expected == [
            (d.utterance_index, d.sequence, d.first_sample, base64.b64decode(d.audio))
            for d in deltas
        ]
    elif framing == "tagged":
        assert expected == [wire.untag(p) for p in payloads if isinstance(p, bytes)]
    else:
        assert payloads == [audio for *_, audio in expected]


def test_contexts_take_turns_unless_frames_are_tagged() -> None:
    session = new_session()
    send(session, "input.text", context_id="a", text="x")
    assert kinds(send(session, "input.text", context_id="b", text="x")) == []
    tagged = new_session()
    send(tagged, "session.config", framing="tagged")
    send(tagged, "input.text", context_id="a", text="x")
    assert kinds(send(tagged, "input.text", context_id="b", text="x")) == ["Begin", "Feed"]
    send(tagged, "input.done", context_id="a")
    # Same id, new context: told apart by the listener only if it waits.
    assert kinds(send(tagged, "input.text", context_id="a", text="y")) == []
    assert kinds(tagged.event(0, spoken(), 0.0)) == ["session.done", "Begin", "Feed"]


def test_waiting_text_and_flushes_keep_their_order() -> None:
    session = session_in(State.WAITING)
    send(session, "input.flush", context_id="c")
    send(session, "input.text", context_id="c", text=" you")
    effects = send(session, "input.cancel", context_id="blocker")[2:]
    assert effects[1:] == [
        Feed(context=1, text="Hello"),
        Flush(context=1),
        Feed(context=1, text=" you"),
    ]


def test_cancel_ends_every_context_of_the_id_and_later_events_are_dropped() -> None:
    session = session_in(State.FINISHING)
    session.event(1, frame(7), 0.0)
    send(session, "input.text", context_id="c", text="next")
    effects = send(session, "input.cancel", context_id="c")
    assert effects[0] == Stop(context=1)
    assert [m.sent_samples for m in messages(effects) if isinstance(m, wire.Cancelled)] == [7, 0]
    for event in (frame(5), chunk_done(5), spoken(), Warned(code="x", message="x")):
        assert session.event(1, event, 0.0) == []
    assert session.failed(1, SynthesisFailed("late")) == []


def test_cancel_tells_how_much_text_was_heard() -> None:
    def heard(played: int) -> int | None:
        session = new_session()
        send(session, "input.text", text="HelloWorld")
        session.event(0, started(text="Hello"), 0.0)
        session.event(0, frame(100), 0.0)
        session.event(0, chunk_done(100), 0.0)
        world = ChunkStarted(
            index=1,
            text="World",
            text_start=5,
            text_end=10,
            normalized_text="world",
            first_sample=100,
            sample_rate_hz=1000,
        )
        session.event(0, world, 0.0)
        session.event(0, frame(200, 100), 0.0)
        (cancelled,) = messages(send(session, "input.cancel", played_samples=played))
        assert isinstance(cancelled, wire.Cancelled)
        assert cancelled.sent_samples == 300
        return cancelled.heard_text_end

    assert [heard(n) for n in (0, 40, 100)] == [0, 2, 5]
    # 200 samples at 1 kHz into a chunk that is not complete: 15 characters a second.
    assert heard(300) == heard(10**9) == 8


def test_a_context_without_sound_ends_with_one_warning() -> None:
    session = new_session()
    nothing = Warned(code="empty_input", message="nothing")
    send(session, "input.text", text="...")
    assert session.event(0, nothing, 0.0) == []
    send(session, "input.done")
    assert kinds(session.event(0, spoken(0, 0, 0), 0.0)) == ["warning", "session.done"]
    send(session, "input.text", text="Hello")
    session.event(1, started(), 0.0)
    send(session, "input.text", text="...", voice="bob")
    session.event(1, spoken(), 0.0)
    session.event(1, nothing, 0.0)
    assert kinds(session.event(1, spoken(0, 0, 0), 0.0)) == ["session.done"]


def test_a_warning_is_told_once_per_context() -> None:
    session = session_in(State.SPEAKING)
    warned = Warned(code="text_truncated", message="cut")
    assert kinds(session.event(1, warned, 0.0)) == ["warning"]
    assert session.event(1, warned, 0.0) == []


def test_empty_text_is_no_op() -> None:
    session = new_session()
    assert send(session, "input.text", text="") == []
    assert session.live == 0


def test_surrogates_are_joined_over_messages_and_refused_alone() -> None:
    session = new_session()
    send(session, "input.text", text="a\ud83d")
    assert send(session, "input.text", text="\ude00") == [Feed(context=0, text="\U0001f600")]
    send(session, "input.text", text="\ud83d")
    effects = send(session, "input.done")
    assert kinds(effects) == ["Stop", "error"]
    assert failure(effects).code == "invalid_text"
    assert failure(effects).context_id == "default"
    assert failure(send(session, "input.text", text="\ude00")).code == "invalid_text"
    send(session, "input.text", text="a\ud83d")
    assert kinds(send(session, "session.close"))[:2] == ["Stop", "error"]


def test_limits() -> None:
    session = new_session()
    assert failure(send(session, "input.text", text="x" * 101)).code == "text_too_long"
    send(session, "input.text", text="x" * 100)
    effects = send(session, "input.text", text="x" * 51)
    assert kinds(effects) == ["Stop", "error"]
    assert failure(effects).code == "text_too_long"
    for context_id in "abc":
        send(session, "input.text", context_id=context_id, text="x")
    refused = failure(send(session, "input.text", context_id="d", text="x"))
    assert (refused.code, refused.param, refused.context_id) == ("bad_config", "context_id", "d")
    assert session.live == 3


def test_a_bad_field_ends_the_context_it_was_sent_to() -> None:
    session = session_in(State.SPEAKING)
    effects = send(session, "input.text", context_id="c", text="x", speed=99)
    assert kinds(effects) == ["Stop", "error"]
    assert failure(effects).param == "speed"
    fresh = failure(send(session, "input.text", context_id="n", text="x", format="mp3"))
    assert (fresh.code, fresh.context_id) == ("unsupported_format", "n")
    finishing = session_in(State.FINISHING)
    assert kinds(send(finishing, "input.text", context_id="c", text="x", speed=9)) == ["error"]
    assert state_of_c(finishing) is State.FINISHING
    assert failure(send(session, "session.config", format="wav")).context_id is None


def test_the_third_bad_message_in_a_row_closes() -> None:
    session = session_in(State.SPEAKING)
    assert kinds(session.receive("{", 0.0)) == ["error"]
    assert kinds(session.receive(b"\0\0", 0.0)) == ["error"]
    send(session, "ping")
    assert kinds(session.receive("{", 0.0)) == ["error"]
    assert kinds(session.receive("[]", 0.0)) == ["error"]
    effects = session.receive(b"", 0.0)
    assert kinds(effects) == ["error", "Stop", "error", "Close"]
    assert isinstance(effects[-1], Close)
    assert effects[-1].code == "bad_message"
    assert send(session, "ping") == [] == session.tick(1e9) == session.event(1, frame(1), 0.0)
    assert session.failed(1, SynthesisFailed("x")) == []


def test_idle_and_old_sessions_end() -> None:
    session = session_in(State.SPEAKING)
    session.event(1, frame(1), 5.0)
    assert session.tick(15.0) == []
    effects = session.tick(15.1)
    assert kinds(effects) == ["Stop", "error", "Close"]
    assert effects[-1] == Close(code="idle", reason="nothing was said for 10 s")
    assert kinds(new_session().tick(10.1)) == ["error", "Close"]
    left_open = session_in(State.SPEAKING)
    send(left_open, "input.text", text="This one waits.", context_id="behind")
    send(left_open, "input.done", context_id="behind")
    assert kinds(left_open.tick(10.1))[-2:] == ["error", "Close"]
    finishing = session_in(State.FINISHING)
    assert finishing.tick(50.0) == []
    assert kinds(finishing.tick(100.1)) == ["warning"]
    assert kinds(finishing.event(1, spoken(), 101.0)) == ["session.done", "Close"]


def test_close_finishes_what_is_open() -> None:
    session = session_in(State.SPEAKING)
    assert kinds(send(session, "session.close")) == ["Finish"]
    assert failure(send(session, "input.text", context_id="n", text="x")).code == "bad_message"
    assert session.event(1, spoken(), 0.0)[-1] == Close()
    assert session.closed
    assert new_session().receive('{"type": "session.close"}', 0.0) == [Close()]


def test_draining_lets_live_contexts_finish_and_opens_none() -> None:
    error = Draining("going down", retry_after_s=5.0)
    session = session_in(State.SPEAKING)
    assert session.drain(error) == []
    assert kinds(send(session, "input.text", context_id="c", text="x")) == ["Feed"]
    refused = failure(send(session, "input.text", context_id="n", text="x"))
    assert (refused.code, refused.retry_after_s) == ("draining", 5.0)
    assert kinds(send(session, "input.done", context_id="c")) == ["Finish"]
    effects = session.event(1, spoken(), 0.0)
    assert kinds(effects) == ["session.done", "error", "Close"]
    assert effects[-1] == Close(code="draining")
    assert kinds(new_session().drain(error)) == ["error", "Close"]


@pytest.mark.parametrize("error", [Overloaded("full", retry_after_s=1.0), Internal("internal")])
def test_some_failures_end_the_session(error: Overloaded | Internal) -> None:
    session = session_in(State.SPEAKING)
    effects = session.failed(1, error)
    assert kinds(effects) == ["Stop", "error", "Close"]
    assert failure(effects).request_id == "s-1"
    assert session.end(error) == []


def test_a_stalled_session_tells_every_context() -> None:
    session = session_in(State.WAITING)
    effects = session.end(Stalled("nothing was read"))
    assert kinds(effects) == ["Stop", "error", "Stop", "error", "Close"]
    assert session.live == 0


def test_finish_follows_done() -> None:
    session = new_session()
    send(session, "input.text", text="x")
    assert send(session, "input.done") == [Finish(context=0)]


def test_flushes_and_changes_that_wait_are_bounded() -> None:
    session = session_in(State.SPEAKING)
    send(session, "input.text", text="This one waits.", context_id="behind")
    for _ in range(50):
        assert send(session, "input.flush", context_id="behind") == []
    send(session, "input.done", context_id="c")
    effects = session.event(1, spoken(), 0.0)
    assert kinds(effects).count("Flush") == 1

    recording = base64.b64encode(bytes(MAX_REFERENCE_BYTES - 1)).decode()
    for nth in range(8):
        emotion = {"reference": recording, "weight": nth / 10}
        effects = send(session, "input.text", text="a", context_id="behind", emotion=emotion)
        if "error" in kinds(effects):
            break
    assert isinstance(effects[-1], Send)
    assert isinstance(effects[-1].message, wire.Failure)
    assert effects[-1].message.code == "bad_config"
    assert 3 <= nth <= 6
