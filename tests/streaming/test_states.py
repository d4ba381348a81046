"""Every cell of the session table does what the table says."""

from __future__ import annotations

import pytest

from streaming.effects import Begin
from streaming.states import TABLE, Signal, State
from tests.streaming.sessions import act, kinds, send, session_in, state_of_c

SPOKEN_END = (State.ABSENT, ["session.done"])


CANCELLED = (State.ABSENT, ["Stop", "cancelled"])


FAILED = (State.ABSENT, ["Stop", "error"])


EXPECTED: dict[State, dict[Signal, tuple[State, list[str]]]] = {
    State.ABSENT: {
        Signal.TEXT: (State.SPEAKING, ["Begin", "Feed"]),
        Signal.FLUSH: (State.ABSENT, ["warning"]),
        Signal.DONE: (State.ABSENT, ["warning", "session.done"]),
        Signal.CANCEL: (State.ABSENT, ["warning"]),
        Signal.TURN: (State.ABSENT, ["warning"]),
        Signal.OUTPUT: (State.ABSENT, []),
        Signal.SPOKEN: (State.ABSENT, []),
        Signal.FAILED: (State.ABSENT, []),
    },
    State.WAITING: {
        Signal.TEXT: (State.WAITING, []),
        Signal.FLUSH: (State.WAITING, []),
        Signal.DONE: (State.COMPLETE, []),
        Signal.CANCEL: CANCELLED,
        Signal.TURN: (State.SPEAKING, ["Stop", "cancelled", "Begin", "Feed"]),
        Signal.OUTPUT: (State.WAITING, []),
        Signal.SPOKEN: (State.WAITING, []),
        Signal.FAILED: FAILED,
    },
    State.COMPLETE: {
        Signal.TEXT: (State.COMPLETE, []),
        Signal.FLUSH: (State.COMPLETE, []),
        Signal.DONE: (State.COMPLETE, []),
        Signal.CANCEL: CANCELLED,
        Signal.TURN: (State.FINISHING, ["Stop", "cancelled", "Begin", "Feed", "Finish"]),
        Signal.OUTPUT: (State.COMPLETE, []),
        Signal.SPOKEN: (State.COMPLETE, []),
        Signal.FAILED: FAILED,
    },
    State.SPEAKING: {
        Signal.TEXT: (State.SPEAKING, ["Feed"]),
        Signal.FLUSH: (State.SPEAKING, ["Flush"]),
        Signal.DONE: (State.FINISHING, ["Finish"]),
        Signal.CANCEL: CANCELLED,
        Signal.TURN: (State.SPEAKING, ["warning"]),
        Signal.OUTPUT: (State.SPEAKING, ["Audio"]),
        Signal.SPOKEN: SPOKEN_END,
        Signal.FAILED: FAILED,
    },
    State.FINISHING: {
        Signal.TEXT: (State.FINISHING, []),
        Signal.FLUSH: (State.FINISHING, []),
        Signal.DONE: (State.FINISHING, []),
        Signal.CANCEL: CANCELLED,
        Signal.TURN: (State.FINISHING, ["warning"]),
        Signal.OUTPUT: (State.FINISHING, ["Audio"]),
        Signal.SPOKEN: SPOKEN_END,
        Signal.FAILED: FAILED,
    },
}


@pytest.mark.parametrize("signal", [s for s in Signal if s is not Signal.RUN_SPOKEN])
@pytest.mark.parametrize("state", list(State))
def test_every_cell(state: State, signal: Signal) -> None:
    session = session_in(state)
    assert state_of_c(session) is state
    effects = act(session, signal)
    assert (state_of_c(session), kinds(effects)) == EXPECTED[state][signal]


@pytest.mark.parametrize("state", [State.SPEAKING, State.FINISHING])
def test_the_cells_of_a_context_with_another_run(state: State) -> None:
    session = session_in(State.SPEAKING)
    assert kinds(send(session, "input.text", context_id="c", text="b", voice="bob")) == ["Finish"]
    if state is State.FINISHING:
        send(session, "input.done", context_id="c")
    effects = act(session, Signal.RUN_SPOKEN)
    assert kinds(effects) == ["Begin", "Feed"] + ["Finish"] * (state is State.FINISHING)
    assert isinstance(effects[0], Begin)
    assert effects[0].config.voice == "bob"
    assert state_of_c(session) is state


def test_the_table_is_total_and_nothing_speaks_without_a_turn() -> None:
    assert set(TABLE) == {(state, signal) for state in State for signal in Signal}
    for state in (State.ABSENT, State.WAITING, State.COMPLETE):
        assert TABLE[state, Signal.RUN_SPOKEN] == (state, "ignore")
        assert TABLE[state, Signal.OUTPUT] == (state, "ignore")
