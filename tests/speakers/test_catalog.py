"""speaker.json: good ones, bad ones, and ones that want out of their folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from speakers.catalog import OPENAI_VOICES, load_catalog
from streaming.errors import BadConfig, UnknownVoice
from tests.speakers.sounds import noise


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three good recordings and the bad ones that the issue names."""
    home = tmp_path / "home"
    home.mkdir()
    for seed, name in enumerate(["a.wav", "b.wav", "c.wav"]):
        (home / name).write_bytes(noise(1.2, seed=seed))
    (home / "long.wav").write_bytes(noise(20, rate_hz=8_000))
    (home / "hours.flac").write_bytes(noise(600, rate_hz=8_000, container="FLAC")[:9_000_000])
    (home / "text.wav").write_text("I am a poem.\n" * 100)
    (tmp_path / "outside.wav").write_bytes(noise(1.2, seed=9))
    return home


def write(folder: Path, data: Any) -> Path:
    path = folder / "speaker.json"
    path.write_text(json.dumps(data) if not isinstance(data, str) else data)
    return path


def test_both_forms_mix_and_the_first_is_the_default(folder: Path) -> None:
    catalog = load_catalog(
        write(
            folder,
            {
                "anna": ["a.wav", "b.wav"],
                "小明": {
                    "recordings": ["c.wav"],
                    "description": "calm",
                    "language": "zh-CN",
                    "aliases": ["ming"],
                },
            },
        )
    )
    assert [speaker.name for speaker in catalog.speakers] == ["anna", "小明"]
    assert catalog.default.name == catalog.resolve(None).name == "anna"
    ming = catalog.resolve("ming")
    assert (ming.name, ming.description, ming.language) == ("小明", "calm", "zh-CN")
    assert [len(r.samples) for r in catalog.resolve("anna").load()] == [19_200, 19_200]


def test_names_of_openai_go_to_the_first_usable_speaker(folder: Path) -> None:
    catalog = load_catalog(
        write(
            folder,
            {
                "bad": {"recordings": ["text.wav"], "aliases": ["nova", "coral"]},
                "anna": ["a.wav"],
                "onyx": ["b.wav"],
                "carl": {"recordings": ["c.wav"], "aliases": ["echo", "nova", "anna"]},
                "dora": {"recordings": ["b.wav"], "aliases": ["echo"]},
            },
        )
    )
    found = {name: catalog.resolve(name).name for name in OPENAI_VOICES if name != "coral"}
    assert found.pop("onyx") == "onyx"
    assert found.pop("echo") == "carl", "the first who claims an alias has it"
    assert found.pop("nova") == "carl", "a claim of a speaker that cannot be used is no claim"
    assert set(found.values()) == {"anna"}
    assert catalog.resolve("anna").name == "anna", "a name comes before an alias"
    with pytest.raises(UnknownVoice, match="'bad' is not available"):
        catalog.resolve("coral")


def test_unknown_names_are_unknown_voices(folder: Path) -> None:
    catalog = load_catalog(write(folder, {"anna": ["a.wav"]}))
    for name in ["Anna", "", "x" * 100_000, "\ud800", "../anna"]:
        with pytest.raises(UnknownVoice) as caught:
            catalog.resolve(name)
        assert caught.value.param == "voice"


@pytest.mark.parametrize(
    ("recordings", "reason"),
    [
        (["text.wav"], "text.wav: the recording is not wav, flac, mp3 or ogg audio"),
        (["hours.flac"], "hours.flac: the recording is longer than 30 s"),
        (["a.wav", "missing.wav"], "missing.wav: the recording cannot be read"),
        (["../outside.wav"], "outside.wav: the recording is outside the folder"),
        (["link.wav"], "link.wav: the recording is outside the folder"),
        (["linked/outside.wav"], "outside.wav: the recording is outside the folder"),
        (["loop.wav"], "loop.wav: the recording cannot be read"),
        (["nul\0.wav"], "nul\0.wav: the recording cannot be read"),
        (["."], ": the recording is not a regular file"),
    ],
)
def test_a_bad_speaker_is_listed_with_its_reason(
    folder: Path, recordings: list[str], reason: str
) -> None:
    (folder / "link.wav").symlink_to(folder.parent / "outside.wav")
    (folder / "linked").symlink_to(folder.parent)
    (folder / "loop.wav").symlink_to(folder / "loop.wav")
    catalog = load_catalog(write(folder, {"bad": recordings, "anna": ["a.wav"]}))
    bad = catalog.speakers[0]
    assert bad.unavailable is not None and bad.unavailable.startswith(reason)
    assert str(folder.parent) not in bad.unavailable
    assert catalog.default.name == "anna"
    with pytest.raises(UnknownVoice, match="'bad' is not available"):
        catalog.resolve("bad")


def test_an_absolute_path_is_an_escape_unless_it_leads_back(folder: Path) -> None:
    outside, inside = str(folder.parent / "outside.wav"), str(folder / "a.wav")
    catalog = load_catalog(write(folder, {"out": [outside], "in": [inside]}))
    assert [speaker.unavailable is None for speaker in catalog.speakers] == [False, True]


def test_links_that_stay_inside_are_fine(folder: Path) -> None:
    (folder / "same.wav").symlink_to("a.wav")
    catalog = load_catalog(write(folder, {"anna": ["same.wav"], "bert": ["./x/../a.wav"]}))
    assert [speaker.unavailable for speaker in catalog.speakers] == [None, None]


def test_the_operator_may_allow_paths_outside(folder: Path) -> None:
    path = write(folder, {"anna": ["../outside.wav"]})
    assert load_catalog(path, allow_outside=True).default.unavailable is None


def test_the_only_speaker_must_be_usable(folder: Path) -> None:
    with pytest.raises(BadConfig, match=r"no speaker .* can be used \(bad: text.wav: the rec"):
        load_catalog(write(folder, {"bad": ["text.wav"]}))


def test_a_long_recording_leaves_a_warning(folder: Path) -> None:
    catalog = load_catalog(write(folder, {"anna": ["long.wav"]}))
    assert catalog.default.warnings == (
        "long.wav: the recording is 20.0 s long; only its first 15 s are used",
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"a": ["a.wav"], "a": ["b.wav"]}', "given twice"),
        ('{"a": {"recordings": ["a.wav"], "description": "\\ud800"}}', "not valid JSON"),
        ("[]", "must be an object"),
        ({}, "1 to 1000 speakers"),
        ({str(n): ["a.wav"] for n in range(1_001)}, "1 to 1000 speakers"),
        ({"a b": ["a.wav"]}, "a speaker's name"),
        ({"a/b": ["a.wav"]}, "a speaker's name"),
        ({"x" * 65: ["a.wav"]}, "a speaker's name"),
        ({"a\n": ["a.wav"]}, "a speaker's name"),
        ({"a": "a.wav"}, "a.recordings: a list"),
        ({"a": []}, "a.recordings: a list"),
        ({"a": ["a.wav"] * 9}, "a.recordings: a list"),
        ({"a": [1]}, "a.recordings: a list"),
        ({"a": None}, "a.recordings: a list"),
        ({"a": {"description": "no recordings"}}, "a.recordings: a list"),
        ({"a": {"recordings": ["a.wav"], "gender": "x"}}, "unknown field 'gender'"),
        ({"a": {"recordings": ["a.wav"], "description": 5}}, "a.description"),
        ({"a": {"recordings": ["a.wav"], "description": "x" * 501}}, "a.description"),
        ({"a": {"recordings": ["a.wav"], "language": "english!"}}, "a.language"),
        ({"a": {"recordings": ["a.wav"], "aliases": ["a b"]}}, "a.aliases"),
        ({"a": {"recordings": ["a.wav"], "aliases": "nova"}}, "a.aliases"),
        (" " * 1_000_001, "bigger than 1 MB"),
    ],
)
def test_what_is_no_catalog_is_refused(folder: Path, data: Any, message: str) -> None:
    with pytest.raises(BadConfig, match=message) as caught:
        load_catalog(write(folder, data))
    assert caught.value.param is not None
    assert str(folder) not in caught.value.message


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"cannot read speaker\.json"):
        load_catalog(tmp_path / "speaker.json")


def test_the_etag_follows_what_can_be_seen_or_heard(folder: Path) -> None:
    first = load_catalog(write(folder, {"anna": ["a.wav"]})).etag
    assert load_catalog(write(folder, {"anna": ["a.wav"]})).etag == first
    renamed = load_catalog(write(folder, {"hanna": ["a.wav"]})).etag
    (folder / "a.wav").write_bytes(noise(1.2, seed=5))
    rerecorded = load_catalog(write(folder, {"anna": ["a.wav"]})).etag
    assert len({first, renamed, rerecorded}) == 3


def test_a_recording_that_changes_later_is_not_used(folder: Path) -> None:
    anna = load_catalog(write(folder, {"anna": ["a.wav"]})).default
    (folder / "a.wav").write_bytes(noise(1.2, seed=5))
    with pytest.raises(UnknownVoice, match="have changed"):
        anna.load()
    (folder / "a.wav").unlink()
    with pytest.raises(UnknownVoice, match="cannot be read"):
        anna.load()
