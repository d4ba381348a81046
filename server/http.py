"""``POST /v1/audio/speech``: audio whole, as it is made, or as server-sent events."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import IO, Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from server.admission import Place, caller_of
from server.encoding import HEAD_BYTES, Encoder, content_type, make_encoder, sealed
from server.errors import ANSWERS, error_body, error_headers
from server.feed import TextFeed
from server.jobs import BODY, SpeechJob, read_job
from server.openapi import AUDIO, EVENTS, SPEECH_ERRORS, ApiRoute, Operation
from server.service import SynthesisService
from streaming.errors import BadMessage, EmptyInput, SpeechError, Stalled, TextTooLong
from streaming.events import AudioFrame, ChunkDone, ChunkStarted, Event, SpeechDone
from streaming.wire import parse_json

logger = logging.getLogger(__name__)

_SPOOL_BYTES = 4 * 2**20
_PIECE_BYTES = 64 * 2**10


async def speech(request: Request) -> Response:
    """``POST /v1/audio/speech``: OpenAI's fields and ours; spoken while the answer is sent."""
    service: SynthesisService[Any] = request.app.state.service
    raw = await read_json(request, service)
    return SpeechResponse(service, read_job(raw, service, request.state.request_id))


def error_response(error: SpeechError) -> Response:
    """An error before the first byte."""
    return JSONResponse(
        {"error": error_body(error)}, ANSWERS[error.code].status, error_headers(error)
    )


async def read_json(request: Request, service: SynthesisService[Any]) -> dict[str, Any]:
    """The body, bounded in size and time; raises ``TextTooLong`` and ``BadMessage``."""
    most = service.settings.limits.frame_bytes
    body = bytearray()
    try:
        async with asyncio.timeout(service.settings.body_timeout_s):
            async for piece in request.stream():
                body += piece
                if len(body) > most:
                    raise TextTooLong(f"a request has at most {most} bytes")
        return parse_json(body.decode())
    except TimeoutError:
        raise BadMessage("the request's body did not come") from None
    except ClientDisconnect:
        raise BadMessage("the client left before the request's end") from None
    except UnicodeDecodeError:
        raise BadMessage("the request is not UTF-8") from None


class SpeechResponse(Response):
    """Speaks a job while it is sent; a client that leaves cancels the pipeline at once."""

    def __init__(self, service: SynthesisService[Any], job: SpeechJob) -> None:
        self._service = service
        self._job = job
        self._sent = False
        self._spent_tokens = 0
        self._samples = 0
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end, or until the client is gone."""
        self._send_raw = send
        try:
            place = self._service.take_place(caller_of(scope))
        except SpeechError as error:
            error.request_id = self._job.request_id
            self._service.metrics.count(error.code)
            await self.refusal(error)(scope, receive, send)
            return
        try:
            await self._speak(scope, receive, place)
        finally:
            self._service.admission.leave(place)

    async def _speak(self, scope: Scope, receive: Receive, place: Place) -> None:
        self._place = place
        work = asyncio.create_task(self._respond(scope, receive), name=self._job.request_id)
        watch = asyncio.create_task(_gone(receive), name=f"{self._job.request_id} watch")
        try:
            await asyncio.wait((work, watch), return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()
            watch.cancel()
            await asyncio.gather(work, watch, return_exceptions=True)
        if not work.cancelled() and (error := work.exception()) is not None:
            raise error

    async def _respond(self, scope: Scope, receive: Receive) -> None:
        try:
            if self._job.sse:
                await self._send_events()
            elif self._job.streamed:
                await self._send_stream()
            else:
                await self._send_whole()
        except SpeechError as error:
            logger.info("request %s: %s", self._job.request_id, error.code)
            self._service.metrics.count(error.code)
            error.request_id = error.request_id or self._job.request_id
            if not self._sent:
                await self.refusal(error)(scope, receive, self._send_raw)
            elif self._job.sse:
                event = {"type": "speech.audio.error", "error": error_body(error)}
                await self._body(_event(event), last=True)
            # Raw audio has no band for an error: the response is left without its end, which
            # clients take for what it is.
        except TimeoutError:
            logger.info("request %s: the client stopped reading", self._job.request_id)
            self._service.metrics.count(Stalled.code)

    def refusal(self, error: SpeechError) -> Response:
        """An error before the first byte, as this door puts it."""
        return error_response(error)

    async def content(self) -> AsyncGenerator[bytes]:
        """What the response holds; raises ``EmptyInput`` instead of giving nothing."""
        async with aclosing(self.encoded()) as pieces:
            async for _, piece in pieces:
                if piece:
                    yield piece

    async def encoded(self) -> AsyncGenerator[tuple[Event, bytes]]:
        """Events with the bytes that they added to the audio; raises ``EmptyInput``."""
        job, rate_hz = self._job, self._job.sample_rate_hz
        encoder: Encoder | None = None  # whoever is refused has to hear so at once
        feed = TextFeed.whole(job.text)
        speech = self._service.speak(
            job.request_id,
            job.config,
            feed,
            caller=self._place,
            recordings=job.recordings,
        )
        async with aclosing(speech) as events:
            async for event in events:
                piece = b""
                if encoder is None and isinstance(event, ChunkStarted):
                    encoder = await asyncio.to_thread(
                        make_encoder, job.config.format, rate_hz, bit_rate=job.bit_rate
                    )
                elif isinstance(event, ChunkDone):
                    self._spent_tokens += event.report.codes
                elif isinstance(event, AudioFrame) and encoder is not None:
                    self._samples += event.samples
                    piece = encoder.encode(event.pcm)
                elif isinstance(event, SpeechDone):
                    if not self._samples or encoder is None:
                        raise EmptyInput("there is nothing to speak", param="input")
                    piece = encoder.finish()
                yield event, piece

    async def _send_stream(self) -> None:
        async with aclosing(self.content()) as pieces:
            async for piece in pieces:
                await self._head(self.content_kind())
                await self._body(piece)
        await self._body(b"", last=True)

    async def _send_events(self) -> None:
        pause_s = self._service.settings.comment_every_s
        async with (
            aclosing(self.content()) as pieces,
            aclosing(_or_every(pieces, pause_s)) as beats,
        ):
            async for piece in beats:
                await self._head("text/event-stream")
                encoded = base64.b64encode(piece).decode("ascii")
                delta = _event({"type": "speech.audio.delta", "audio": encoded})
                await self._body(delta if piece else b": still here\n\n")
        spent = self._service.estimate_tokens(self._job.text)
        usage = {
            "input_tokens": spent,
            "output_tokens": self._spent_tokens,
            "total_tokens": spent + self._spent_tokens,
        }
        await self._body(_event({"type": "speech.audio.done", "usage": usage}), last=True)

    async def _send_whole(self) -> None:
        """Collect on disk beyond a few megabytes, so that long texts do not fill the memory."""
        job = self._job
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as spool:
            async with aclosing(self.content()) as pieces:
                async for piece in pieces:
                    spool.write(piece)
            size = spool.tell()
            spool.seek(0)
            head = spool.read(HEAD_BYTES)
            spool.seek(0)
            spool.write(sealed(job.config.format, head, job.sample_rate_hz, self._samples))
            await self._head(self.content_kind(), size)
            await self._send_file(spool)
        await self._body(b"", last=True)

    async def _send_file(self, spool: IO[bytes]) -> None:
        spool.seek(0)
        while piece := spool.read(_PIECE_BYTES):
            await self._body(piece)

    def content_kind(self) -> str:
        """The media type of what ``content`` gives."""
        return content_type(self._job.config.format, self._job.sample_rate_hz)

    async def _head(self, media_type: str, length: int | None = None) -> None:
        if self._sent:
            return
        headers = {
            "content-type": media_type,
            "x-sample-rate": str(self._job.sample_rate_hz),
            "cache-control": "no-store",
        }
        if length is not None:
            headers["content-length"] = str(length)
        self._sent = True
        await self._send_raw(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
            }
        )

    async def _body(self, data: bytes, *, last: bool = False) -> None:
        """Send a piece; raises ``TimeoutError`` when the client stops reading."""
        async with asyncio.timeout(self._service.settings.limits.write_stall_s):
            await self._send_raw(
                {"type": "http.response.body", "body": data, "more_body": not last}
            )


def _event(data: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(data)}\n\n".encode()


async def _gone(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        continue


async def _or_every(pieces: AsyncGenerator[bytes], pause_s: float) -> AsyncGenerator[bytes]:
    """The pieces, and an empty one whenever none came for ``pause_s``."""
    waiting: asyncio.Task[bytes | None] | None = None
    try:
        while True:
            waiting = waiting or asyncio.create_task(_next(pieces))
            done, _ = await asyncio.wait((waiting,), timeout=pause_s)
            if not done:
                yield b""
                continue
            piece, waiting = waiting.result(), None
            if piece is None:
                return
            yield piece
    finally:
        if waiting is not None:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)


async def _next(pieces: AsyncGenerator[bytes]) -> bytes | None:
    return await anext(pieces, None)


SPEECH = Operation(
    body=BODY,
    answers={200: {**AUDIO, **EVENTS}},
    errors=SPEECH_ERRORS,
)
"""What OpenAI's route takes and gives."""

ROUTES: list[BaseRoute] = [ApiRoute("/v1/audio/speech", speech, SPEECH, method="POST")]
"""This door's."""
