"""Playing what arrives: a jitter buffer that a sound device, or nobody, drains in real time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any, Protocol

from client.errors import ClientError

START_MS = 200
"""Audio held back before playing starts, and again after running dry."""

MAX_AHEAD_S = 60.0
"""Audio that may wait in the buffer before ``Player.play`` makes the caller wait."""

_TICK_S = 0.02


class JitterBuffer:
    """Mono s16le PCM between the event loop and a sound device's thread.

    It starts when ``start_ms`` are there (or the end is), gives silence when dry, and counts every
    time that happens before the end as an underrun.
    """

    def __init__(self, *, sample_rate_hz: int, start_ms: int = START_MS) -> None:
        self._start_bytes = 2 * (sample_rate_hz * start_ms // 1000)
        self._lock = threading.Lock()
        self._held = bytearray()
        self._playing = False
        self._ended = False
        self.played_samples = 0
        self.underruns = 0

    @property
    def held_samples(self) -> int:
        """Samples that wait to be played."""
        return len(self._held) // 2

    def push(self, pcm: bytes) -> None:
        """Append samples."""
        with self._lock:
            self._held += pcm

    def end(self) -> None:
        """Nothing follows; what is held is played to its end."""
        with self._lock:
            self._ended = True

    def clear(self) -> None:
        """Drop what is held."""
        with self._lock:
            self._held.clear()

    def pull(self, samples: int) -> bytes:
        """Exactly so many samples, silence where there are none."""
        wanted = 2 * samples
        with self._lock:
            if not self._playing:
                self._playing = self._ended or len(self._held) >= max(self._start_bytes, 1)
            if not self._playing:
                return bytes(wanted)
            pcm = bytes(self._held[:wanted])
            del self._held[:wanted]
            self.played_samples += len(pcm) // 2
            if len(pcm) < wanted and not self._ended:
                self._playing = False
                self.underruns += 1
            return pcm.ljust(wanted, b"\0")


class Output(Protocol):
    """Who drains a jitter buffer."""

    def start(self, buffer: JitterBuffer, sample_rate_hz: int) -> None:
        """Begin to pull from the buffer in real time."""
        ...

    def stop(self) -> None:
        """Pull no more."""
        ...


class DeviceOutput:
    """The default sound device, through ``sounddevice``."""

    def __init__(self, sounddevice: ModuleType) -> None:
        self._sounddevice = sounddevice
        self._stream: Any = None

    def start(self, buffer: JitterBuffer, sample_rate_hz: int) -> None:
        """Open the device, whose own thread pulls; raises ``ClientError`` when it refuses."""

        def fill(out: Any, frames: int, _time: object, _status: object) -> None:
            out[:] = buffer.pull(frames)

        try:
            self._stream = self._sounddevice.RawOutputStream(
                samplerate=sample_rate_hz, channels=1, dtype="int16", callback=fill
            )
            self._stream.start()
        except self._sounddevice.PortAudioError as error:
            raise ClientError(f"the sound device does not play: {error}") from error

    def stop(self) -> None:
        """Close the device."""
        if self._stream is not None:
            self._stream.stop()
            self._stream.close()
            self._stream = None


class SilentOutput:
    """Nobody: takes the samples at the pace a device would; needs a running event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self, buffer: JitterBuffer, sample_rate_hz: int) -> None:
        """Begin to pull in a task that ``stop`` ends."""
        self._task = asyncio.create_task(self._run(buffer, sample_rate_hz), name="play to nobody")

    def stop(self) -> None:
        """End the task."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self, buffer: JitterBuffer, sample_rate_hz: int) -> None:
        start_s, pulled = self._clock(), 0
        while True:
            await asyncio.sleep(_TICK_S)
            due = int((self._clock() - start_s) * sample_rate_hz)
            buffer.pull(due - pulled)
            pulled = due


class Player:
    """Plays PCM through an output, keeping a jitter buffer ahead of it."""

    def __init__(self, output: Output, *, sample_rate_hz: int) -> None:
        self._rate_hz = sample_rate_hz
        self._buffer = JitterBuffer(sample_rate_hz=sample_rate_hz)
        self._output = output
        output.start(self._buffer, sample_rate_hz)

    @property
    def played_samples(self) -> int:
        """How many samples were heard."""
        return self._buffer.played_samples

    @property
    def underruns(self) -> int:
        """How often the listener heard silence because nothing had arrived."""
        return self._buffer.underruns

    async def play(self, pcm: bytes) -> None:
        """Append samples; waits while more than a minute is ahead of the listener."""
        excess_s = self._buffer.held_samples / self._rate_hz - MAX_AHEAD_S
        if excess_s > 0:
            await asyncio.sleep(excess_s)
        self._buffer.push(pcm)

    async def finish(self) -> None:
        """Play to the end, then close; gives a device that no longer plays up after a second."""
        self._buffer.end()
        until_s = time.monotonic() + self._buffer.held_samples / self._rate_hz + 1.0
        # ASYNC110: a sound device's thread cannot set an event of asyncio.
        while self._buffer.held_samples and time.monotonic() < until_s:  # noqa: ASYNC110
            await asyncio.sleep(_TICK_S)
        self._output.stop()

    def stop(self) -> None:
        """Be quiet at once."""
        self._buffer.clear()
        self._output.stop()


def find_sounddevice() -> ModuleType | None:
    """The ``sounddevice`` module when it is installed and there is a device to play on."""
    try:
        import sounddevice
    except (ImportError, OSError):  # OSError: the PortAudio library is missing
        return None
    try:
        sounddevice.query_devices(kind="output")
    except (sounddevice.PortAudioError, ValueError):
        return None
    return sounddevice  # type: ignore[no-any-return]


def find_output() -> Output:
    """The sound device when there is one, else nobody at the same pace."""
    sounddevice = find_sounddevice()
    return SilentOutput() if sounddevice is None else DeviceOutput(sounddevice)
