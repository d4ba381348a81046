"""Recordings that a request names by URL or path: refused unless the operator allows the place."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from server.fetching import Fetcher, in_thread
from server.folders import Folders
from speakers.recording import DEFAULT_LIMITS, LoadedRecording
from streaming.errors import BadMessage, BadRecording, ReferenceRefused, SpeechError
from streaming.fields import MAX_PLACE_CHARS

_AT_ONCE = 8


class References:
    """The one door for recordings from elsewhere.

    Without ``hosts`` no URL is allowed, without ``folders`` no path. Getting a recording takes at
    most ``timeout_s``, the wait for one of eight turns included.
    """

    def __init__(
        self,
        *,
        decode: Callable[[bytes], Awaitable[LoadedRecording]],
        hosts: Iterable[str] = (),
        folders: Iterable[Path] = (),
        timeout_s: float = 1.5,
        fetcher: Fetcher | None = None,
    ) -> None:
        self._fetcher = fetcher or Fetcher(hosts, max_bytes=DEFAULT_LIMITS.max_bytes)
        self._decode = decode
        self._folders = Folders(folders)
        self._timeout_s = timeout_s
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def check(self, text: str, *, param: str) -> None:
        """Raise ``ReferenceRefused`` for what is certain not to be allowed; asks nobody."""
        try:
            if len(text) > MAX_PLACE_CHARS:
                raise ReferenceRefused(f"a URL or path has at most {MAX_PLACE_CHARS} characters")
            if "://" in text:
                self._fetcher.check(text)
            else:
                self._folders.check(text)
        except ReferenceRefused as error:
            error.param = param
            raise

    async def load(self, text: str, *, param: str) -> LoadedRecording:
        """The checked recording at a URL or path.

        Raises ``ReferenceRefused`` when it may not be asked for, ``BadRecording`` when there is
        none; both name ``param``.
        """
        self.check(text, param=param)
        try:
            async with asyncio.timeout(self._timeout_s), self._turns:
                data = await self._read(text)
                return await self._decode(data)
        except TimeoutError:
            raise BadRecording("the recording did not come in time", param=param) from None
        except SpeechError as error:
            error.param = param
            raise

    async def load_all(self, texts: Iterable[str], *, param: str) -> tuple[LoadedRecording, ...]:
        """``load`` for several at once, in the time of one."""
        try:
            async with asyncio.TaskGroup() as group:
                loads = [group.create_task(self.load(text, param=param)) for text in texts]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return tuple(load.result() for load in loads)

    async def text(self, url: object, *, param: str) -> str:
        """The text at a URL; raises ``ReferenceRefused``, and ``BadMessage`` when there is none."""
        if not isinstance(url, str) or "://" not in url:
            raise BadMessage(f"{param} must be a URL", param=param)
        self.check(url, param=param)
        try:
            async with asyncio.timeout(self._timeout_s), self._turns:
                return (await self._fetcher.fetch(url)).decode()
        except ReferenceRefused as error:
            error.param = param
            raise
        except (TimeoutError, BadRecording, UnicodeDecodeError):
            raise BadMessage("there is no text at the URL", param=param) from None

    async def _read(self, text: str) -> bytes:
        if "://" in text:
            return await self._fetcher.fetch(text)
        return await in_thread(self._folders.read, text, DEFAULT_LIMITS.max_bytes)
