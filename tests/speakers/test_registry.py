"""Who can speak at present: changes of files are followed, uploads come and go."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from speakers import registry as module
from speakers.recording import load_recording
from speakers.registry import EVERYBODY, Registry
from speakers.uploads import Sheet, UploadFolder
from streaming.errors import BadConfig, Forbidden, UnknownVoice
from tests.speakers.sounds import noise

WAVS = [noise(1.0, seed=9)]


def write(folder: Path, entries: dict[str, Any]) -> Path:
    path = folder / "speaker.json"
    path.write_text(json.dumps(entries))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    for seed, name in enumerate(("anna", "bert")):
        (tmp_path / f"{name}.wav").write_bytes(noise(1.0, seed=seed))
    return write(tmp_path, {"anna": {"recordings": ["anna.wav"], "aliases": ["ann"]}})


@pytest.fixture
def uploads(tmp_path: Path) -> UploadFolder:
    return UploadFolder(tmp_path / "voices", max_voices=10, max_bytes=10**7)


@pytest.fixture
def registry(path: Path, uploads: UploadFolder) -> Registry:
    return Registry(path, uploads=uploads)


def sheet(name: str = "dora", owner: str = "key") -> Sheet:
    return Sheet(name=name, consent="yes", owner=owner)


def names(registry: Registry) -> list[str]:
    return [speaker.name for speaker in registry.catalog.speakers]


@pytest.mark.parametrize("name", ["anna", "ann", "alloy", "echo"])
def test_a_name_that_means_somebody_is_taken(registry: Registry, name: str) -> None:
    meant = registry.catalog.resolve(name)
    with pytest.raises(BadConfig, match="already"):
        registry.add(sheet(name), WAVS)
    assert registry.catalog.resolve(name) is meant


def test_a_changed_file_is_read_again_and_what_was_found_stays(
    registry: Registry, path: Path
) -> None:
    before = registry.catalog
    anna = before.resolve("anna")
    assert not registry.refresh() and registry.catalog is before
    write(path.parent, {"bert": ["bert.wav"], "anna": ["anna.wav"]})
    assert registry.refresh() and names(registry) == ["bert", "anna"]
    assert registry.catalog.default.name == "bert" and registry.catalog.etag != before.etag
    assert before.resolve("ann") is anna and anna.load()
    write(path.parent, {"bert": ["bert.wav"]})
    assert registry.refresh()
    with pytest.raises(UnknownVoice):
        registry.catalog.resolve("anna")


def test_a_file_that_cannot_be_used_changes_nothing(
    registry: Registry, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = registry.catalog
    for broken in ("{", "{}", json.dumps({"anna": ["missing.wav"]})):
        path.write_text(broken)
        with caplog.at_level(logging.ERROR):
            assert registry.refresh()
        assert registry.catalog.etag == before.etag
    assert caplog.text.count("the speakers stay as they were") == 3
    assert not registry.refresh()
    path.unlink()
    assert registry.refresh() and names(registry) == ["anna"]
    write(path.parent, {"bert": ["bert.wav"]})
    assert registry.refresh() and names(registry) == ["bert"]


def test_a_recording_that_changes_or_appears_is_noticed(registry: Registry, path: Path) -> None:
    write(path.parent, {"anna": ["anna.wav"], "carl": ["carl.wav"]})
    assert registry.refresh()
    assert registry.catalog.table["carl"].unavailable
    (path.parent / "carl.wav").write_bytes(noise(1.0, seed=5))
    assert registry.refresh()
    carl = registry.catalog.resolve("carl")
    (path.parent / "carl.wav").write_bytes(noise(2.0, seed=6))
    assert registry.refresh() and registry.catalog.resolve("carl").key != carl.key


def test_a_recording_is_decoded_once_per_state(
    registry: Registry, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []

    def watched(source: Path) -> Any:
        decoded.append(source.name)
        return load_recording(source)

    monkeypatch.setattr(module, "load_recording", watched)
    write(path.parent, {"anna": ["anna.wav"], "bert": ["bert.wav"]})
    assert registry.refresh() and decoded == ["bert.wav"]


def test_uploads_are_there_at_once_and_after_a_restart(
    registry: Registry, path: Path, uploads: UploadFolder
) -> None:
    before = registry.catalog
    added = registry.add(sheet(), WAVS)
    assert registry.catalog.resolve("dora") is added and names(registry) == ["anna", "dora"]
    assert registry.catalog.etag != before.etag and names(registry)[0] == "anna"
    again = Registry(path, uploads=uploads)
    assert again.catalog == registry.catalog
    assert registry.remove("dora", owner="key") == added
    assert registry.catalog.etag == before.etag
    assert again.refresh() and again.catalog.etag == before.etag


@pytest.mark.parametrize("name", ["anna", "ann", "dora"])
def test_a_name_that_somebody_has_is_refused(registry: Registry, name: str) -> None:
    registry.add(sheet(), WAVS)
    with pytest.raises(BadConfig, match="already a voice") as caught:
        registry.add(sheet(name), WAVS)
    assert caught.value.param == "name"


def test_the_operators_names_hide_uploads(registry: Registry, path: Path) -> None:
    registry.add(sheet("bert"), WAVS)
    write(path.parent, {"anna": ["anna.wav"], "bert": ["bert.wav"]})
    assert registry.refresh()
    assert [speaker.owner for speaker in registry.catalog.speakers] == [None, None]
    with pytest.raises(BadConfig):
        registry.remove("bert", owner="key")
    write(path.parent, {"anna": ["anna.wav"]})
    assert registry.refresh() and registry.catalog.resolve("bert").owner == "key"


def test_who_may_delete_what(registry: Registry) -> None:
    registry.add(sheet(), WAVS)
    registry.add(sheet("emil", owner=EVERYBODY), WAVS)
    with pytest.raises(UnknownVoice):
        registry.remove("nobody", owner="key")
    with pytest.raises(UnknownVoice):
        registry.remove("ann", owner="key")
    with pytest.raises(BadConfig, match="only uploaded"):
        registry.remove("anna", owner="key")
    with pytest.raises(Forbidden):
        registry.remove("dora", owner="other")
    registry.remove("emil", owner="other")
    registry.remove("dora", owner="key")
    assert names(registry) == ["anna"]


def test_without_a_folder_nothing_is_taken(path: Path) -> None:
    registry = Registry(path)
    with pytest.raises(BadConfig, match="takes no voices"):
        registry.add(sheet(), WAVS)
    with pytest.raises(BadConfig, match="takes no voices"):
        registry.check_free("dora")


async def test_watching_refreshes_until_it_is_told_to_stop(registry: Registry, path: Path) -> None:
    watching = asyncio.create_task(registry.watch(0.01))
    write(path.parent, {"bert": ["bert.wav"]})
    for _ in range(500):
        if names(registry) == ["bert"]:
            break
        await asyncio.sleep(0.01)
    assert names(registry) == ["bert"]
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
