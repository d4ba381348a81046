"""Keys at rest, and tokens that end."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from server import cli
from server.keys import Allowance, BadKeys, KeyRing, make_key, read_keys, write_keys
from server.tokens import Tokens
from tests.fakes import ManualClock


def ring(path: Path, clock: ManualClock | None = None) -> KeyRing:
    return KeyRing(path, clock=clock or ManualClock())


def test_a_key_is_found_and_its_text_is_nowhere_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key, text = make_key("web", priority=2, allowance=Allowance(concurrent=3))
    other, _ = make_key("other")
    write_keys(path, (key, other))
    assert ring(path).find(text) == key
    assert text.rpartition("_")[2] not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_keys(path) == (key, other)
    assert key.salt != other.salt


def test_wrong_keys_are_not_found(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    (key, text), (other, _) = make_key("a"), make_key("b")
    write_keys(path, (key, other))
    keys = ring(path)
    last = "A" if text[-1] != "A" else "B"
    for wrong in ("", text[:-1], text[:-1] + last, text + "x", text.replace(key.id, other.id)):
        assert keys.find(wrong) is None
    assert keys.find(text.replace(key.id, "00000000")) is None


def test_a_removed_key_is_noticed_and_a_broken_file_is_not(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys.json", ManualClock()
    (key, text), (other, added) = make_key("a"), make_key("b")
    write_keys(path, (key,))
    keys = ring(path, clock)
    path.write_text("{")
    clock._now_s += 2
    assert keys.find(text) == key, "what was there stays"
    write_keys(path, (other,))
    clock._now_s += 2
    assert (keys.find(text), keys.find(added), keys.by_id(key.id)) == (None, other, None)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"keys": [{}]}', '{"keys": [{"id": "a", "extra": 1}]}', "\xff"]
)
def test_bad_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(BadKeys, match=r"keys\.json"):
        KeyRing(path)


def test_the_commands_add_list_and_remove(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    run = CliRunner(env={"COLUMNS": "120", "INDEXTTS_KEYS": str(path)})
    added = run.invoke(cli.app, ["keys", "add", "my app", "--concurrent", "2", "--priority", "1"])
    assert added.exit_code == 0, added.output
    key = ring(path).find(added.stdout.strip())
    assert key is not None and key.allowance == Allowance(concurrent=2)
    listed = run.invoke(cli.app, ["keys", "list"])
    assert key.id in listed.stdout and "my app" in listed.stdout
    assert added.stdout.strip() not in listed.stdout
    assert run.invoke(cli.app, ["keys", "remove", key.id]).exit_code == 0
    assert json.loads(path.read_text()) == {"keys": []}
    again = run.invoke(cli.app, ["keys", "remove", key.id])
    assert again.exit_code == 1 and "has no key" in again.stderr
    missing = run.invoke(cli.app, ["keys", "list", "--keys", str(tmp_path / "none.json")])
    assert missing.exit_code == 1 and "cannot read" in missing.stderr


def test_a_token_ends_and_belongs_to_one_secret() -> None:
    clock = ManualClock()
    tokens = Tokens("secret", clock=clock)
    token = tokens.issue("abcd1234", 60)
    assert tokens.key_id(token) == "abcd1234"
    assert Tokens("secret", clock=clock).key_id(token) == "abcd1234"
    assert Tokens("another", clock=clock).key_id(token) is None
    assert Tokens(clock=clock).key_id(token) is None
    clock._now_s = 61
    assert tokens.key_id(token) is None


@given(st.text(max_size=80), st.integers(0, 60), st.characters(codec="ascii"))
def test_no_other_text_is_a_token(text: str, at: int, character: str) -> None:
    tokens = Tokens("secret", clock=lambda: 0.0)
    token = tokens.issue("abcd1234", 60)
    changed = token[:at] + character + token[at + 1 :]
    assert tokens.key_id(text) is None
    assert changed == token or tokens.key_id(changed) is None
