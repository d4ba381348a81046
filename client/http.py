"""The OpenAI-style HTTP doors as a library: whole or streamed speech, SSE, voices, readiness."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

from client.errors import BrokenProtocol, CannotConnect, ConnectionLost, error_of
from client.urls import bearer, http_url, is_loopback
from streaming.errors import SpeechError

MAX_EVENT_BYTES = 4 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
MAX_LIST_BYTES = 4 * 1024 * 1024

_BY_STATUS = {401: "unauthorized", 403: "forbidden_origin", 429: "overloaded", 503: "draining"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """A voice the server offers; ``unavailable`` is the reason when it cannot be used."""

    id: str
    name: str
    description: str = ""
    language: str | None = None
    unavailable: str | None = None


class HttpClient:
    """A client of one server; use it as an async context manager. ``key`` is for servers that ask.

    Every method raises ``CannotConnect`` and ``ConnectionLost``, and the server's refusal as a
    ``SpeechError``.
    """

    def __init__(self, url: str, *, key: str | None = None, timeout_s: float = 60.0) -> None:
        try:
            base = http_url(url)
        except ValueError as error:
            raise CannotConnect(str(error)) from error
        self._client = httpx.AsyncClient(
            base_url=base,
            headers=bearer(key),
            timeout=httpx.Timeout(timeout_s, connect=10.0),
            trust_env=not is_loopback(url),
        )

    async def __aenter__(self) -> HttpClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def ready(self) -> bool:
        """Whether the server is up, warm and not draining."""
        try:
            async with self._client.stream("GET", "/readyz", timeout=5.0) as response:
                return response.status_code == 200
        except httpx.TransportError:
            return False

    async def wait_ready(self, timeout_s: float) -> None:
        """Return as soon as the server is ready; ``CannotConnect`` when it is not in time."""
        until_s = time.monotonic() + timeout_s
        while not await self.ready():
            if time.monotonic() >= until_s:
                raise CannotConnect(f"the server was not ready within {timeout_s:g} s")
            await asyncio.sleep(0.2)

    async def voices(self) -> tuple[Voice, ...]:
        """Who can speak."""
        async with self._open("GET", "/v1/audio/voices") as response:
            body = await _whole(response, MAX_LIST_BYTES)
        try:
            return tuple(_voice(entry) for entry in json.loads(body)["voices"])
        except (ValueError, KeyError, TypeError) as error:
            raise BrokenProtocol("the server sent no list of voices") from error

    async def add_voice(
        self,
        name: str,
        recordings: Sequence[bytes],
        *,
        consent: str,
        description: str = "",
        language: str | None = None,
    ) -> Voice:
        """Add a voice made of audio files; ``consent`` is the speaker's agreement, in words."""
        fields = {"name": name, "consent": consent, "description": description}
        if language is not None:
            fields["language"] = language
        files = [("recordings", (f"{nth}", data)) for nth, data in enumerate(recordings)]
        async with self._open("POST", "/v1/voices", data=fields, files=files) as response:
            body = await _whole(response, MAX_LIST_BYTES)
        try:
            return _voice(json.loads(body))
        except (ValueError, KeyError, TypeError) as error:
            raise BrokenProtocol("the server sent no voice") from error

    async def remove_voice(self, name: str) -> None:
        """Delete a voice that was added."""
        async with self._open("DELETE", f"/v1/voices/{quote(name, safe='')}"):
            return

    async def speech(
        self, text: str, config: Mapping[str, Any] | None = None
    ) -> AsyncIterator[bytes]:
        """Audio as it is made; ``config`` has the fields of ``POST /v1/audio/speech``.

        ``response_format`` is ``pcm`` unless ``config`` says otherwise.
        """
        body = {"response_format": "pcm", **(config or {}), "input": text, "stream_format": "audio"}
        async with self._open("POST", "/v1/audio/speech", json=body) as response:
            async for piece in response.aiter_bytes():
                yield piece

    async def speech_events(
        self, text: str, config: Mapping[str, Any] | None = None
    ) -> AsyncIterator[bytes]:
        """The same through server-sent events; raises an error that comes after the first byte.

        Ending without the closing event is ``ConnectionLost``.
        """
        body = {"response_format": "pcm", **(config or {}), "input": text, "stream_format": "sse"}
        async with self._open("POST", "/v1/audio/speech", json=body) as response:
            async for event in _events(response):
                match event.get("type"):
                    case "speech.audio.delta":
                        yield _decoded(event.get("audio"))
                    case "speech.audio.error":
                        raise _error(event.get("error"), "internal", None)
                    case "speech.audio.done":
                        return
        raise ConnectionLost("the speech ended early")

    @asynccontextmanager
    async def _open(self, method: str, path: str, **body: Any) -> AsyncIterator[httpx.Response]:
        """An answer that is no refusal; ``body`` is in httpx's words."""
        try:
            async with self._client.stream(method, path, **body) as response:
                if not response.is_success:
                    raise await _refusal(response)
                yield response
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as error:
            raise CannotConnect(f"cannot connect to {self._client.base_url}: {error}") from error
        except httpx.TransportError as error:
            raise ConnectionLost(f"the connection was lost: {error}") from error


async def _whole(response: httpx.Response, max_bytes: int) -> bytes:
    body = b""
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > max_bytes:
            raise BrokenProtocol("the server's answer is too big")
    return body


async def _refusal(response: httpx.Response) -> SpeechError:
    """The typed error of an answer that is not 200, whatever its body is."""
    body = await _whole(response, MAX_ERROR_BYTES)
    try:
        told = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        told = {"message": f"the server answered {response.status_code}"}
    code = _BY_STATUS.get(response.status_code, "internal")
    return _error(told, code, response)


def _error(told: object, code: str, response: httpx.Response | None) -> SpeechError:
    fields = told if isinstance(told, dict) else {}
    retry_after_s = None
    if response is not None:
        retry_after = response.headers.get("retry-after", "")
        retry_after_s = float(retry_after) if retry_after.isdecimal() else None
    return error_of(
        str(fields.get("code") or code),
        str(fields.get("message") or "the server gave no reason"),
        param=fields.get("param"),
        retry_after_s=retry_after_s,
        request_id=response.headers.get("x-request-id") if response is not None else None,
    )


async def _events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of a stream of server-sent events, without comments that keep it alive."""
    held = b""
    async for piece in response.aiter_bytes():
        held = (held + piece).replace(b"\r\n", b"\n")
        *blocks, held = held.split(b"\n\n")
        if len(held) > MAX_EVENT_BYTES:
            raise BrokenProtocol("an event of the server is too big")
        for block in blocks:
            lines = [line[5:] for line in block.split(b"\n") if line.startswith(b"data:")]
            if lines:
                yield _object(b"\n".join(lines))


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise BrokenProtocol("an event of the server is not JSON") from error
    if not isinstance(value, dict):
        raise BrokenProtocol("an event of the server is not an object")
    return value


def _decoded(audio: object) -> bytes:
    try:
        return base64.b64decode(audio if isinstance(audio, str) else "?", validate=True)
    except (binascii.Error, ValueError) as error:
        raise BrokenProtocol("the audio of an event is not base64") from error


def _voice(entry: Mapping[str, Any]) -> Voice:
    return Voice(
        id=str(entry["id"]),
        name=str(entry.get("name") or entry["id"]),
        description=str(entry.get("description") or ""),
        language=entry.get("language"),
        unavailable=entry.get("unavailable"),
    )
