"""A token stands for one connection, once, and for nobody else."""

from __future__ import annotations

from server.resume import ResumeTokens


def test_a_token_is_good_for_once() -> None:
    tokens = ResumeTokens[str]()
    name = tokens.new()
    tokens.offer(name, key_id="k", owner="me")
    assert tokens.take(name, key_id="k") == "me"
    assert tokens.take(name, key_id="k") is None
    assert len(tokens) == 0


def test_a_token_of_another_key_is_unknown_and_stays() -> None:
    tokens = ResumeTokens[str]()
    name = tokens.new()
    tokens.offer(name, key_id="k", owner="me")
    assert tokens.take(name, key_id="thief") is None
    assert tokens.take("", key_id="k") is None
    assert tokens.take(name, key_id="k") == "me"


def test_a_connection_that_is_over_is_forgotten() -> None:
    tokens = ResumeTokens[str]()
    tokens.offer("t", key_id="k", owner="me")
    tokens.withdraw("t")
    tokens.withdraw("t")
    assert tokens.take("t", key_id="k") is None


def test_tokens_are_long_and_differ() -> None:
    tokens = {ResumeTokens[str].new() for _ in range(1_000)}
    assert len(tokens) == 1_000
    assert min(map(len, tokens)) >= 32
