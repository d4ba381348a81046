"""The jitter buffer, its two outputs, and the search for a sound device."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import client.playback
from client.errors import ClientError
from client.playback import (
    DeviceOutput,
    JitterBuffer,
    Player,
    SilentOutput,
    find_output,
    find_sounddevice,
)

RATE_HZ = 8_000


def pcm(samples: int) -> bytes:
    return np.arange(1, samples + 1, dtype="<i2").tobytes()


def test_it_starts_when_enough_is_there() -> None:
    buffer = JitterBuffer(sample_rate_hz=1_000, start_ms=200)
    buffer.push(pcm(199))
    assert buffer.pull(10) == bytes(20)
    buffer.push(b"\x05\x00")
    assert buffer.pull(10) == pcm(10)
    assert (buffer.played_samples, buffer.held_samples, buffer.underruns) == (10, 190, 0)


def test_running_dry_is_an_underrun_and_it_fills_up_again_before_going_on() -> None:
    buffer = JitterBuffer(sample_rate_hz=1_000, start_ms=100)
    buffer.push(pcm(100))
    assert buffer.pull(150) == pcm(100) + bytes(100)
    assert buffer.pull(50) == bytes(100)
    buffer.push(pcm(50))
    assert buffer.pull(50) == bytes(100)
    assert buffer.underruns == 1
    buffer.push(pcm(50))
    assert buffer.pull(50) == pcm(50)


def test_the_end_plays_the_rest_without_an_underrun() -> None:
    buffer = JitterBuffer(sample_rate_hz=1_000, start_ms=100)
    buffer.push(pcm(30))
    buffer.end()
    assert buffer.pull(50) == pcm(30) + bytes(40)
    assert (buffer.underruns, buffer.played_samples) == (0, 30)


async def test_nobody_is_played_to_in_real_time() -> None:
    player = Player(SilentOutput(), sample_rate_hz=RATE_HZ)
    start_s = time.monotonic()
    await player.play(pcm(RATE_HZ // 2))
    await player.finish()
    assert 0.45 <= time.monotonic() - start_s < 2
    assert (player.played_samples, player.underruns) == (RATE_HZ // 2, 0)


async def test_a_late_piece_is_counted_and_stop_is_quiet_at_once() -> None:
    player = Player(SilentOutput(), sample_rate_hz=RATE_HZ)
    await player.play(pcm(RATE_HZ // 4))
    await asyncio.sleep(0.5)
    assert player.underruns == 1
    await player.play(pcm(RATE_HZ))
    await asyncio.sleep(0.1)
    player.stop()
    heard = player.played_samples
    await asyncio.sleep(0.1)
    assert RATE_HZ // 4 < heard == player.played_samples < RATE_HZ


async def test_a_player_far_ahead_makes_its_feeder_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.playback, "MAX_AHEAD_S", 0.1)
    player = Player(SilentOutput(), sample_rate_hz=RATE_HZ)
    await player.play(pcm(RATE_HZ // 2))
    start_s = time.monotonic()
    await player.play(pcm(10))
    assert time.monotonic() - start_s >= 0.35
    player.stop()


class FakeDevice(ModuleType):
    """As much of ``sounddevice`` as is used, with a device that asks for sound when told."""

    class PortAudioError(Exception):
        pass

    def __init__(self, *, trouble: str = "") -> None:
        super().__init__("sounddevice")
        self.trouble = trouble
        self.log: list[str] = []
        self.fill: Callable[[bytearray, int, object, object], None] | None = None
        self.asked: dict[str, Any] = {}

    def query_devices(self, *, kind: str) -> dict[str, str]:
        if self.trouble == "none":
            raise self.PortAudioError("no default output device")
        return {"kind": kind}

    def RawOutputStream(self, **asked: Any) -> FakeDevice:
        if self.trouble == "busy":
            raise self.PortAudioError("device unavailable")
        self.fill, self.asked = asked.pop("callback"), asked
        return self

    def start(self) -> None:
        self.log.append("start")

    def stop(self) -> None:
        self.log.append("stop")

    def close(self) -> None:
        self.log.append("close")


async def test_a_device_pulls_what_was_played() -> None:
    device = FakeDevice()
    player = Player(DeviceOutput(device), sample_rate_hz=RATE_HZ)
    assert device.asked == {"samplerate": RATE_HZ, "channels": 1, "dtype": "int16"}
    assert device.fill is not None
    await player.play(pcm(RATE_HZ))
    out = bytearray(2 * RATE_HZ)
    device.fill(out, RATE_HZ, None, None)
    assert bytes(out) == pcm(RATE_HZ)
    await player.finish()
    player.stop()
    assert device.log == ["start", "stop", "close"]


async def test_a_device_that_stopped_asking_does_not_hold_up_the_end() -> None:
    player = Player(DeviceOutput(FakeDevice()), sample_rate_hz=RATE_HZ)
    await player.play(pcm(10))
    async with asyncio.timeout(3):
        await player.finish()


def test_a_busy_device_is_a_clear_error() -> None:
    with pytest.raises(ClientError, match="device unavailable"):
        Player(DeviceOutput(FakeDevice(trouble="busy")), sample_rate_hz=RATE_HZ)


def test_a_device_is_used_when_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeDevice()
    monkeypatch.setitem(sys.modules, "sounddevice", device)
    assert find_sounddevice() is device
    assert isinstance(find_output(), DeviceOutput)


@pytest.mark.parametrize("module", [None, FakeDevice(trouble="none")], ids=["missing", "none"])
def test_without_a_device_nobody_is_played_to(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType | None
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    assert find_sounddevice() is None
    assert isinstance(find_output(), SilentOutput)
