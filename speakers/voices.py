"""The only cache of encoded voices: in memory, optionally on disk, one encode at a time per voice.

Voices are found by the content hash of their recordings, so that two speakers with the same
recordings share one voice and a changed recording never meets an old voice.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from speakers.catalog import Speaker, recordings_key
from speakers.disk import DiskCache
from streaming.errors import Draining
from streaming.speech import Recording

VoiceT = TypeVar("VoiceT")

MEMORY_BYTES = 256 * 1024 * 1024

logger = logging.getLogger(__name__)


class VoiceEncoder(Protocol[VoiceT]):
    """The part of ``streaming.speech.SpeechModel`` that makes voices."""

    async def encode(self, recordings: Sequence[Recording]) -> VoiceT:
        """As ``SpeechModel.encode``."""
        ...

    def dump(self, voice: VoiceT) -> dict[str, NDArray[np.float32]]:
        """As ``SpeechModel.dump``."""
        ...

    def load(self, arrays: Mapping[str, NDArray[np.float32]]) -> VoiceT:
        """As ``SpeechModel.load``."""
        ...


@dataclass(slots=True, kw_only=True, eq=False)
class _Flight(Generic[VoiceT]):
    """One encode in progress and how many wait for it."""

    task: asyncio.Task[VoiceT]
    waiters: int = 0


@dataclass(slots=True, kw_only=True)
class _Shelf(Generic[VoiceT]):
    """Voices in memory, the least recently used first, never more than ``max_bytes``."""

    max_bytes: int
    held_bytes: int = 0
    voices: OrderedDict[str, tuple[VoiceT, int]] = field(default_factory=OrderedDict)

    def get(self, key: str) -> VoiceT | None:
        if key not in self.voices:
            return None
        self.voices.move_to_end(key)
        return self.voices[key][0]

    def put(self, key: str, voice: VoiceT, size_bytes: int) -> None:
        """Keep the voice; one that is bigger than the bound is not kept at all."""
        if key in self.voices or size_bytes > self.max_bytes:
            return
        self.voices[key] = (voice, size_bytes)
        self.held_bytes += size_bytes
        while self.held_bytes > self.max_bytes:
            _, (_, freed_bytes) = self.voices.popitem(last=False)
            self.held_bytes -= freed_bytes

    def drop(self, key: str) -> None:
        """Let go of a voice, if it is there."""
        _, freed_bytes = self.voices.pop(key, (None, 0))
        self.held_bytes -= freed_bytes


class VoiceCache(Generic[VoiceT]):
    """Encoded voices by speaker or by recordings.

    Encodes run in tasks that the cache owns. A caller that is cancelled leaves the others' encode
    alone; when the last one leaves, the encode is cancelled. ``aclose`` ends and awaits all tasks.
    """

    def __init__(
        self,
        model: VoiceEncoder[VoiceT],
        *,
        memory_bytes: int = MEMORY_BYTES,
        disk: DiskCache | None = None,
    ) -> None:
        self._model = model
        self._disk = disk
        self._shelf: _Shelf[VoiceT] = _Shelf(max_bytes=memory_bytes)
        self._flights: dict[str, _Flight[VoiceT]] = {}
        self._tasks: dict[asyncio.Task[VoiceT], str] = {}
        self._closed = False

    @property
    def held_bytes(self) -> int:
        """Bytes of the voices kept in memory."""
        return self._shelf.held_bytes

    async def get(self, speaker: Speaker) -> VoiceT:
        """The voice of a speaker.

        Raises ``UnknownVoice``, ``Draining`` when the cache closes, and what ``encode`` raises.
        """

        async def load() -> Sequence[Recording]:
            return await asyncio.to_thread(speaker.load)

        return await self._get(speaker.key, load)

    async def get_recordings(self, recordings: Sequence[Recording]) -> VoiceT:
        """The voice of checked recordings, such as an emotion reference; raises as ``get`` does."""

        async def load() -> Sequence[Recording]:
            return recordings

        return await self._get(recordings_key(r.sha256 for r in recordings), load)

    async def forget(self, key: str) -> None:
        """Leave nothing of a voice in memory or on disk; who speaks with it is not disturbed."""
        if making := [task for task, other in self._tasks.items() if other == key]:
            await asyncio.wait(making)
        self._shelf.drop(key)
        if self._disk is not None:
            await asyncio.to_thread(self._disk.remove, key)

    async def aclose(self) -> None:
        """Cancel every encode and wait for its end; who still waits gets ``Draining``."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    async def _get(self, key: str, load: Callable[[], Awaitable[Sequence[Recording]]]) -> VoiceT:
        if (voice := self._shelf.get(key)) is not None:
            return voice
        if self._closed:
            raise Draining("the voice cache is closed")
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(task=self._start(key, load))
        flight.waiters += 1
        try:
            await asyncio.wait([flight.task])
        finally:
            flight.waiters -= 1
            if flight.waiters == 0:
                if self._flights.get(key) is flight:
                    del self._flights[key]
                flight.task.cancel()
        if flight.task.cancelled():
            raise Draining("the voice cache is closed")
        return flight.task.result()

    def _start(
        self, key: str, load: Callable[[], Awaitable[Sequence[Recording]]]
    ) -> asyncio.Task[VoiceT]:
        """A task that makes the voice after every abandoned one of the same key has ended."""
        abandoned = [task for task, other in self._tasks.items() if other == key]
        task = asyncio.create_task(self._make(key, load, abandoned), name=f"voice {key[:8]}")
        self._tasks[task] = key
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[VoiceT]) -> None:
        del self._tasks[task]
        if not task.cancelled():
            task.exception()

    async def _make(
        self,
        key: str,
        load: Callable[[], Awaitable[Sequence[Recording]]],
        abandoned: Sequence[asyncio.Task[VoiceT]],
    ) -> VoiceT:
        if abandoned:
            await asyncio.wait(abandoned)
        voice = await self._from_disk(key)
        if voice is not None:
            return voice
        voice = await self._model.encode(await load())
        arrays = await asyncio.to_thread(self._model.dump, voice)
        self._shelf.put(key, voice, sum(array.nbytes for array in arrays.values()))
        if self._disk is not None:
            await asyncio.to_thread(self._disk.write, key, arrays)
        return voice

    async def _from_disk(self, key: str) -> VoiceT | None:
        """The voice that an earlier run wrote, unless its file is missing or not to be trusted."""
        if self._disk is None or (arrays := await asyncio.to_thread(self._disk.read, key)) is None:
            return None
        try:
            voice = await asyncio.to_thread(self._model.load, arrays)
        except ValueError as error:
            logger.warning("a cached voice does not fit the model and is made anew: %s", error)
            return None
        self._shelf.put(key, voice, sum(array.nbytes for array in arrays.values()))
        return voice
