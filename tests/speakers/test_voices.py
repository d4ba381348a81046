"""The cache of encoded voices: single flight, bounds, cancellation, damage on disk."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from speakers.catalog import Catalog, load_catalog
from speakers.disk import DiskCache
from speakers.recording import load_recording
from speakers.voices import VoiceCache
from streaming.errors import Draining, EngineFailed, UnknownVoice
from streaming.speech import Recording
from tests.speakers.sounds import noise

VOICE_BYTES = 4_000


class CountingModel:
    """Makes 4,000-byte voices, one at a time when told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.encoded: list[str] = []
        self.running = 0
        self.most_running = 0
        self.cancelled = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None

    async def encode(self, recordings: Sequence[Recording]) -> tuple[float, ...]:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.gate.wait()
            if self.failure is not None:
                raise self.failure
        except asyncio.CancelledError:
            self.cancelled += 1
            await asyncio.sleep(0.01)
            raise
        finally:
            self.running -= 1
        self.encoded.append(recordings[0].sha256)
        return tuple(float(recording.samples[0]) for recording in recordings)

    def dump(self, voice: tuple[float, ...]) -> dict[str, NDArray[np.float32]]:
        filler = np.zeros(VOICE_BYTES // 4 - len(voice), np.float32)
        return {"file": np.array(voice, np.float32), "blocks.0/filler": filler}

    def load(self, arrays: Mapping[str, NDArray[np.float32]]) -> tuple[float, ...]:
        if "file" not in arrays:
            raise ValueError("no voice in it")
        return tuple(float(value) for value in arrays["file"])


@pytest.fixture
def model() -> CountingModel:
    return CountingModel()


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    names = ["anna", "bert", "carl"]
    for seed, name in enumerate(names):
        (tmp_path / f"{name}.wav").write_bytes(noise(1, seed=seed, subtype="FLOAT"))
    (tmp_path / "bad.wav").write_text("no sound")
    path = tmp_path / "speaker.json"
    path.write_text(json.dumps({name: [f"{name}.wav"] for name in [*names, "bad"]}))
    return load_catalog(path)


def reference(seed: int) -> Recording:
    return load_recording(noise(1, seed=seed, subtype="FLOAT")).recording


async def settle() -> None:
    """Let tasks run, those that wait for a thread too."""
    for _ in range(5):
        await asyncio.sleep(0.005)


async def test_a_voice_is_encoded_once(model: CountingModel, catalog: Catalog) -> None:
    cache = VoiceCache(model)
    first = await cache.get(catalog.resolve("anna"))
    assert await cache.get(catalog.resolve("anna")) is first
    assert await cache.get(catalog.resolve(None)) is first
    assert await cache.get(catalog.resolve("alloy")) is first
    assert len(model.encoded) == 1
    assert cache.held_bytes == VOICE_BYTES
    await cache.aclose()


async def test_names_and_recordings_of_equal_content_share_a_voice(
    model: CountingModel, catalog: Catalog
) -> None:
    cache = VoiceCache(model)
    bert = catalog.resolve("bert")
    assert await cache.get(bert) is await cache.get_recordings([reference(1)])
    assert await cache.get_recordings([reference(1), reference(2)]) != await cache.get(
        catalog.resolve("bert")
    )
    assert len(model.encoded) == 2
    await cache.aclose()


async def test_many_waiters_share_one_encode(model: CountingModel, catalog: Catalog) -> None:
    cache = VoiceCache(model)
    model.gate.clear()
    waiters = [asyncio.create_task(cache.get(catalog.resolve("anna"))) for _ in range(50)]
    await settle()
    model.gate.set()
    voices = await asyncio.gather(*waiters)
    assert len(model.encoded) == 1
    assert all(voice is voices[0] for voice in voices)
    await cache.aclose()


async def test_a_cancelled_waiter_leaves_the_encode_to_the_others(
    model: CountingModel, catalog: Catalog
) -> None:
    cache = VoiceCache(model)
    model.gate.clear()
    first, second = (asyncio.create_task(cache.get(catalog.resolve("anna"))) for _ in range(2))
    await settle()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    model.gate.set()
    assert await second == await cache.get(catalog.resolve("anna"))
    assert (len(model.encoded), model.cancelled) == (1, 0)
    await cache.aclose()


async def test_the_last_waiter_takes_the_encode_along_and_the_next_starts_after_it(
    model: CountingModel, catalog: Catalog
) -> None:
    cache = VoiceCache(model)
    model.gate.clear()
    waiters = [asyncio.create_task(cache.get(catalog.resolve("anna"))) for _ in range(3)]
    await settle()
    for waiter in waiters:
        waiter.cancel()
    await asyncio.wait(waiters)
    model.gate.set()
    assert await cache.get(catalog.resolve("anna"))
    assert (len(model.encoded), model.cancelled, model.most_running) == (1, 1, 1)
    await cache.aclose()


async def test_a_failure_reaches_every_waiter_and_is_not_kept(
    model: CountingModel, catalog: Catalog
) -> None:
    cache = VoiceCache(model)
    model.failure = EngineFailed("the engine died")
    results = await asyncio.gather(
        *(cache.get(catalog.resolve("anna")) for _ in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [EngineFailed] * 3
    model.failure = None
    assert await cache.get(catalog.resolve("anna"))
    await cache.aclose()


async def test_bad_names_and_changed_recordings_are_unknown_voices(
    model: CountingModel, catalog: Catalog
) -> None:
    cache = VoiceCache(model)
    for name in ["nobody", "bad"]:
        with pytest.raises(UnknownVoice):
            await cache.get(catalog.resolve(name))
    catalog.default.files[0].write_bytes(noise(1, seed=8))
    with pytest.raises(UnknownVoice, match="have changed"):
        await cache.get(catalog.resolve("anna"))
    assert model.encoded == []
    await cache.aclose()


async def test_memory_is_bounded_and_the_least_recently_used_goes(
    model: CountingModel, catalog: Catalog
) -> None:
    cache = VoiceCache(model, memory_bytes=2 * VOICE_BYTES + 1)
    for name in ["anna", "bert", "anna", "carl", "anna", "bert"]:
        await cache.get(catalog.resolve(name))
        assert cache.held_bytes <= 2 * VOICE_BYTES
    order = ["anna", "bert", "carl", "bert"]
    assert model.encoded == [catalog.resolve(name).sha256s[0] for name in order]
    await cache.aclose()


async def test_a_voice_bigger_than_the_bound_is_made_but_not_kept(
    model: CountingModel, catalog: Catalog
) -> None:
    cache = VoiceCache(model, memory_bytes=10)
    await cache.get(catalog.resolve("anna"))
    await cache.get(catalog.resolve("anna"))
    assert (len(model.encoded), cache.held_bytes) == (2, 0)
    await cache.aclose()


async def test_closing_ends_encodes_and_waiters(model: CountingModel, catalog: Catalog) -> None:
    cache = VoiceCache(model)
    before = asyncio.all_tasks()
    model.gate.clear()
    waiter = asyncio.create_task(cache.get(catalog.resolve("anna")))
    await settle()
    await cache.aclose()
    assert model.running == 0
    with pytest.raises(Draining):
        await waiter
    with pytest.raises(Draining):
        await cache.get(catalog.resolve("bert"))
    assert asyncio.all_tasks() == before


async def test_a_second_run_finds_the_voice_on_disk(
    model: CountingModel, catalog: Catalog, tmp_path: Path
) -> None:
    disk = DiskCache(tmp_path / "voices", fingerprint="weights-1")
    first = await VoiceCache(model, disk=disk).get(catalog.resolve("anna"))
    again = VoiceCache(model, disk=disk)
    assert await again.get(catalog.resolve("anna")) == pytest.approx(first)
    assert len(model.encoded) == 1 and again.held_bytes == VOICE_BYTES
    other = DiskCache(tmp_path / "voices", fingerprint="weights-2")
    await VoiceCache(model, disk=other).get(catalog.resolve("anna"))
    assert len(model.encoded) == 2, "another model's voices are not ours"


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "flip", "pickle", "float64", "foreign"])
async def test_a_damaged_file_is_ignored_and_written_anew(
    model: CountingModel, catalog: Catalog, tmp_path: Path, damage: str
) -> None:
    disk = DiskCache(tmp_path / "voices", fingerprint="weights-1")
    key = catalog.default.key
    await VoiceCache(model, disk=disk).get(catalog.resolve("anna"))
    path = disk.path(key)
    good = path.read_bytes()
    if damage == "pickle":
        np.savez(path, allow_pickle=True, x=np.array([{"a": 1}], dtype=object))
    elif damage == "float64":
        np.savez(path, allow_pickle=False, **{"voice.file": np.zeros(3)})
    elif damage == "foreign":
        disk.write(key, {"other": np.zeros(3, np.float32)})
    else:
        flipped = good[:2_000] + bytes([good[2_000] ^ 1]) + good[2_001:]
        cut = good[: len(good) // 2]
        path.write_bytes({"empty": b"", "text": b"hi" * 99, "cut": cut, "flip": flipped}[damage])
    await VoiceCache(model, disk=disk).get(catalog.resolve("anna"))
    assert len(model.encoded) == 2
    arrays = disk.read(key)
    assert arrays is not None and arrays.keys() == {"file", "blocks.0/filler"}


def test_the_disk_is_bounded_and_the_least_recently_used_goes(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path, fingerprint="f", max_bytes=10_000)
    arrays = {"x": np.zeros(900, np.float32)}
    for age, key in enumerate(["a", "b"]):
        disk.write(key, arrays)
        os.utime(disk.path(key), (age, age))
    assert disk.read("a") is not None
    disk.write("c", arrays)
    assert [disk.read(key) is not None for key in "abc"] == [True, False, True]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 10_000
    disk.write("d", {"x": np.zeros(5_000, np.float32)})
    assert disk.read("d") is None and disk.read("a") is not None


def test_a_file_bigger_than_the_bound_is_not_read(tmp_path: Path) -> None:
    DiskCache(tmp_path, fingerprint="f").write("a", {"x": np.zeros(5_000, np.float32)})
    assert DiskCache(tmp_path, fingerprint="f", max_bytes=10_000).read("a") is None


async def test_a_disk_that_cannot_be_written_does_no_harm(
    model: CountingModel, catalog: Catalog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    disk = DiskCache(tmp_path / "file" / "voices", fingerprint="f")
    assert await VoiceCache(model, disk=disk).get(catalog.resolve("anna"))
    assert "cannot keep an encoded voice on disk" in caplog.text


def test_a_failed_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", full)
    DiskCache(tmp_path, fingerprint="f").write("a", {"x": np.zeros(3, np.float32)})
    assert list(tmp_path.iterdir()) == []


async def test_a_forgotten_voice_leaves_nothing_behind(
    model: CountingModel, catalog: Catalog, tmp_path: Path
) -> None:
    disk = DiskCache(tmp_path / "voices", fingerprint="weights-1")
    cache = VoiceCache(model, disk=disk)
    anna, bert = catalog.resolve("anna"), catalog.resolve("bert")
    kept = await cache.get(anna)
    await cache.get(bert)
    await cache.forget(anna.key)
    await cache.forget(anna.key)
    assert cache.held_bytes == VOICE_BYTES
    assert disk.read(anna.key) is None and disk.read(bert.key) is not None
    assert await cache.get(anna) == kept and len(model.encoded) == 3
    await cache.aclose()


async def test_forgetting_waits_for_who_is_making_the_voice(
    model: CountingModel, catalog: Catalog, tmp_path: Path
) -> None:
    disk = DiskCache(tmp_path / "voices", fingerprint="weights-1")
    cache = VoiceCache(model, disk=disk)
    model.gate.clear()
    waiter = asyncio.create_task(cache.get(catalog.default))
    await settle()
    forgetting = asyncio.create_task(cache.forget(catalog.default.key))
    await settle()
    model.gate.set()
    await forgetting
    assert await waiter and cache.held_bytes == 0
    assert disk.read(catalog.default.key) is None
    await cache.aclose()
