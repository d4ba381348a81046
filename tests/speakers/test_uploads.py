"""Uploaded voices on disk: whole or not at all, bounded, and told from what is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from speakers.recording import load_recording
from speakers.uploads import MAX_CONSENT_CHARS, Sheet, UploadFolder, to_wav
from streaming.errors import BadConfig, Overloaded, UnknownVoice
from tests.speakers.sounds import noise

SHEET = Sheet(name="dora", consent="I agree. Dora", owner="key", language="en", description="me")
WAVS = [noise(1.0, seed=1), noise(1.0, seed=2)]


@pytest.fixture
def folder(tmp_path: Path) -> UploadFolder:
    return UploadFolder(tmp_path / "voices", max_voices=3, max_bytes=10 * len(WAVS[0]))


def test_a_voice_is_found_again_as_it_came(folder: UploadFolder, tmp_path: Path) -> None:
    assert folder.load() == ()
    added = folder.add(SHEET, WAVS)
    assert (added,) == folder.load()
    assert (added.name, added.owner, added.language, added.description) == (
        ("dora", "key", "en", "me")
    )
    assert [recording.sha256 for recording in added.load()] == list(added.sha256s)
    [place] = (tmp_path / "voices").iterdir()
    about = json.loads((place / "voice.json").read_text())
    assert about["consent"] == "I agree. Dora" and about["created"] > "2020"
    folder.remove("dora")
    folder.remove("dora")
    assert folder.load() == () and list((tmp_path / "voices").iterdir()) == []
    with pytest.raises(UnknownVoice):
        added.load()


def test_voices_come_in_the_order_of_their_arrival(folder: UploadFolder) -> None:
    for name in ("zoe", "老王", "adam"):
        folder.add(replace(SHEET, name=name), WAVS)
    assert [speaker.name for speaker in folder.load()] == ["zoe", "老王", "adam"]


def test_what_is_kept_is_the_sound_and_nothing_else() -> None:
    sent = noise(1.5, channels=2, rate_hz=44_100, container="FLAC") + b"<script>alert(1)</script>"
    kept = to_wav(load_recording(sent).recording)
    again = load_recording(kept).recording
    assert b"script" not in kept and again.sample_rate_hz == 44_100
    assert abs(again.samples - load_recording(sent).recording.samples).max() < 2**-15


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"name": ""}, "name"),
        ({"name": ".."}, "name"),
        ({"name": "."}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": "a\n"}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"consent": ""}, "consent"),
        ({"consent": " \n"}, "consent"),
        ({"consent": "x" * (MAX_CONSENT_CHARS + 1)}, "consent"),
        ({"description": "x" * 501}, "description"),
        ({"language": "english!"}, "language"),
    ],
)
def test_a_sheet_is_checked(changes: dict[str, Any], param: str) -> None:
    with pytest.raises(BadConfig) as caught:
        replace(SHEET, **changes)
    assert caught.value.param == param


def test_a_name_is_given_once(folder: UploadFolder) -> None:
    folder.add(SHEET, WAVS)
    with pytest.raises(BadConfig, match="already a voice"):
        folder.add(replace(SHEET, owner="other"), WAVS)
    assert [speaker.owner for speaker in folder.load()] == ["key"]


def test_number_and_bytes_are_bounded(folder: UploadFolder) -> None:
    with pytest.raises(Overloaded):
        folder.add(SHEET, WAVS * 6)
    for name in "abc":
        folder.add(replace(SHEET, name=name), WAVS[:1])
    with pytest.raises(Overloaded):
        folder.add(SHEET, WAVS[:1])
    folder.remove("a")
    folder.add(SHEET, WAVS[:1])
    assert [speaker.name for speaker in folder.load()] == ["b", "c", "dora"]


@pytest.mark.parametrize("what", ["add", "remove"])
def test_death_at_any_moment_leaves_a_whole_voice_or_none(tmp_path: Path, what: str) -> None:
    command = [sys.executable, "-m", "tests.speakers.dying", what, str(tmp_path)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    told = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    steps = [json.loads(line) for line in told.stdout.splitlines()]
    before, after = (["old"], ["old", "new"]) if what == "add" else (["old"], [])
    done = [names for names, _ in steps].index(after)
    assert done > 5 and len(steps) > done + 1
    assert all(names == before and again for names, again in steps[:done])
    assert all(names == after for names, _ in steps[done:])


@pytest.mark.parametrize("working", range(4))
def test_a_disk_that_fails_leaves_nothing(
    folder: UploadFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, working: int
) -> None:
    """The first flushes work, the next one finds the disk full."""
    folder.add(replace(SHEET, name="old"), WAVS[:1])
    left = working

    def full(_: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space"):
            folder.add(SHEET, WAVS)
    assert [speaker.name for speaker in folder.load()] == ["old"]
    assert len(list((tmp_path / "voices").iterdir())) == 1
    folder.add(SHEET, WAVS)


def test_everything_is_on_the_disk_before_it_is_shown(
    folder: UploadFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What survives a loss of power: files, then their folder, the rename, then its folder."""
    order: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def watched_fsync(handle: int) -> None:
        order.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name.split("-")[0])
        fsync(handle)

    def watched_rename(path: Path, target: Path) -> Path:
        order.append("rename")
        return rename(path, target)

    if not Path("/proc/self/fd").exists():
        pytest.skip("this system has no /proc")
    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "rename", watched_rename)
    folder.add(SHEET, WAVS)
    assert order == ["0.wav", "1.wav", "voice.json", ".new", "rename", "voices"]
    order.clear()
    folder.remove("dora")
    assert order == ["rename", "voices"]


def test_leftovers_are_swept_up_when_nobody_writes_them_any_more(
    folder: UploadFolder, tmp_path: Path
) -> None:
    folder.add(SHEET, WAVS)
    left = [tmp_path / "voices" / name for name in (".new-1", ".old-2", ".new-young")]
    for place in left:
        place.mkdir()
        (place / "0.wav").write_bytes(b"half")
    for place in left[:2]:
        os.utime(place, (time.time() - 7_200,) * 2)
    assert [speaker.name for speaker in folder.load()] == ["dora"]
    assert [place.exists() for place in left] == [False, False, True]


@pytest.mark.parametrize(
    "about",
    [
        "",
        "[]",
        "{}",
        '{"name": "../x", "consent": "y", "owner": "k", "description": "", "language": null, '
        '"created": "", "sha256": ["a"]}',
        '{"name": "x", "consent": "y", "owner": "k", "description": "", "language": null, '
        '"created": "", "sha256": []}',
        '{"name": "x", "consent": "y", "owner": "k", "description": "", "language": null, '
        '"created": "", "sha256": ["a", "b"]}',
    ],
)
def test_what_is_no_voice_is_left_alone(
    folder: UploadFolder, tmp_path: Path, about: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder.add(SHEET, WAVS)
    foreign = tmp_path / "voices" / "foreign"
    foreign.mkdir()
    (foreign / "0.wav").write_bytes(WAVS[0])
    (foreign / "voice.json").write_text(about)
    assert [speaker.name for speaker in folder.load()] == ["dora"]
    assert "foreign holds no voice" in caplog.text and foreign.exists()
