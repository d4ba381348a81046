"""The native WebSocket: carries out what the session says, one task group per connection."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass
from typing import Any

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from server import encoding
from server.admission import caller_of
from server.encoding import make_encoder
from server.errors import close_code
from server.feed import TextFeed
from server.service import SynthesisService
from server.transport import release
from streaming.effects import Audio, Begin, Close, Effect, Feed, Finish, Flush, Send, Stop
from streaming.errors import BadMessage, Internal, Overloaded, SpeechError, Stalled
from streaming.session import Limits, Session
from streaming.speech import Brake
from streaming.wire import SessionCreated, encode

logger = logging.getLogger(__name__)

FORMATS = encoding.FORMATS
"""What this door offers."""

_OUTBOX_MESSAGES = 64
_REASON_BYTES = 123
_ANY_RATE_HZ = 24_000


class _Gone(Exception):
    """The connection is over; ends the task group."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Speech:
    feed: TextFeed
    brake: Brake
    task: asyncio.Task[None]


async def speech_stream(websocket: WebSocket) -> None:
    """``/v1/audio/speech/stream``."""
    service: SynthesisService[Any] = websocket.app.state.service
    await Connection(service, websocket, service.settings.limits).serve()


class Connection:
    """One socket. Effects are carried out in order; the outbox is the only way to the peer.

    Audio waits until the outbox is empty, so at most one frame per context is ever unsent. Another
    dialect is a subclass that translates what comes (``take``) and what goes (``put``).
    """

    def __init__(
        self, service: SynthesisService[Any], websocket: WebSocket, limits: Limits
    ) -> None:
        self._service = service
        self._websocket = websocket
        self._limits = limits
        self._id = secrets.token_hex(8)
        self._outbox: asyncio.Queue[str | bytes | Close] = asyncio.Queue()
        self._speeches: dict[int, _Speech] = {}
        self._dry_at_s: dict[int, float] = {}
        self._session = Session(
            greeting=SessionCreated(
                session_id=self._id,
                model=service.info.name,
                version=service.info.version,
                limits=asdict(self._limits),
                voices_etag=service.catalog.etag,
            ),
            limits=self._limits,
            check=lambda config: service.check(config, FORMATS),
            now_s=time.monotonic(),
            make_encoder=make_encoder,
        )

    def take(self, data: str | bytes) -> None:
        """A message of the peer."""
        self.receive(data)

    def receive(self, data: str | bytes) -> None:
        """A message of the native protocol."""
        self._carry_out(self._session.receive(data, time.monotonic()))

    def refuse(self, error: BadMessage) -> None:
        """A message that a dialect cannot translate."""
        self._carry_out(self._session.refuse(error))

    def put(self, effect: Send | Audio) -> None:
        """Say something to the peer."""
        payload = effect.message if isinstance(effect, Send) else effect.payload
        self.say(payload if isinstance(payload, bytes) else encode(payload))

    def say(self, data: str | bytes) -> None:
        """Put a message into the outbox."""
        self._outbox.put_nowait(data)

    async def serve(self) -> None:
        """Accept and serve until either side closes; nothing of the connection outlives this."""
        await self._websocket.accept()
        self._service.sessions += 1
        try:
            await self._run()
        finally:
            self._service.sessions -= 1

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                group.create_task(self._write(), name=f"{self._id} write")
                group.create_task(self._watch(), name=f"{self._id} watch")
                self._carry_out(self._session.open())
                settings = self._service.settings
                if self._service.sessions > settings.sessions:
                    full = Overloaded("too many sessions", retry_after_s=settings.retry_after_s)
                    self._carry_out(self._session.end(full))
                group.create_task(self._drain(), name=f"{self._id} drain")
                await self._read()
        except* (_Gone, WebSocketDisconnect):
            logger.debug("session %s is over", self._id)

    async def _read(self) -> None:
        """Messages of the peer; no further ones while it does not take our answers."""
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise _Gone
            data = message.get("text")
            if data is None:
                data = message.get("bytes") or b""
            try:
                self.take(data)
            except Exception:
                logger.exception("session %s failed", self._id)
                error = Internal("something went wrong", request_id=self._id)
                self._carry_out(self._session.end(error))
            if self._outbox.qsize() > _OUTBOX_MESSAGES:
                await self._outbox.join()
            await asyncio.sleep(0)  # messages that are all there leave others no turn

    async def _write(self) -> None:
        while True:
            item = await self._outbox.get()
            try:
                async with asyncio.timeout(self._limits.write_stall_s):
                    await self._send(item)
            except TimeoutError:
                await self._give_up()
            self._outbox.task_done()

    async def _give_up(self) -> None:
        """The peer reads nothing: stop its speech, leave the reason in the buffer, let go."""
        error = Stalled(f"nothing was read for {self._limits.write_stall_s:g} s")
        release(self._websocket.scope)
        while not self._outbox.empty():
            self._outbox.get_nowait()
        self._carry_out(self._session.end(error) or [Close(code=error.code)])
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.write_stall_s):
                while True:
                    await self._send(self._outbox.get_nowait())
        raise _Gone

    async def _send(self, item: str | bytes | Close) -> None:
        if isinstance(item, str):
            await self._websocket.send_text(item)
        elif isinstance(item, bytes):
            await self._websocket.send_bytes(item)
        else:
            reason = item.reason.encode()[:_REASON_BYTES].decode(errors="ignore")
            await self._websocket.close(close_code(item.code), reason)
            raise _Gone

    async def _watch(self) -> None:
        """Tell the session the time."""
        pause_s = min(1.0, self._limits.idle_s / 4)
        while True:
            await asyncio.sleep(pause_s)
            self._carry_out(self._session.tick(time.monotonic()))

    async def _drain(self) -> None:
        admission = self._service.admission
        await admission.draining.wait()
        self._carry_out(self._session.drain(admission.refusal()))

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send() | Audio():
                    self.put(effect)
                case Begin(context=number):
                    feed, brake = TextFeed(), Brake()
                    task = self._group.create_task(
                        self._speak(effect, feed, brake), name=effect.request_id
                    )
                    self._speeches[number] = _Speech(feed=feed, brake=brake, task=task)
                case Feed(context=number, text=text):
                    self._speeches[number].feed.put(text)
                case Flush(context=number):
                    self._speeches[number].feed.flush()
                case Finish(context=number):
                    self._speeches[number].feed.finish()
                case Stop(context=number):
                    self._dry_at_s.pop(number, None)
                    if (speech := self._speeches.pop(number, None)) is not None:
                        speech.brake.pull()
                        speech.task.cancel()
                case Close():
                    self._outbox.put_nowait(effect)

    async def _speak(self, begin: Begin, feed: TextFeed, brake: Brake) -> None:
        """Run a pipeline and hand its events to the session."""
        speech = self._service.speak(
            begin.request_id, begin.config, feed, brake, caller=caller_of(self._websocket.scope)
        )
        try:
            if begin.config.format not in ("pcm", "wav"):
                # The first one loads a library, which is nothing for the event loop.
                await asyncio.to_thread(make_encoder, begin.config.format, _ANY_RATE_HZ)
            async with aclosing(speech) as events:
                async for event in events:
                    effects = self._session.event(begin.context, event, time.monotonic())
                    self._carry_out(effects)
                    await self._outbox.join()
                    for effect in effects:
                        if isinstance(effect, Audio):
                            await self._pace(effect)
        except SpeechError as error:
            logger.info("request %s: %s", begin.request_id, error.code)
            self._carry_out(self._session.failed(begin.context, error))
        except Exception:
            logger.exception("request %s failed", begin.request_id)
            internal = Internal("something went wrong", request_id=begin.request_id)
            self._carry_out(self._session.failed(begin.context, internal))
        finally:
            current = self._speeches.get(begin.context)
            if current is not None and current.feed is feed:
                del self._speeches[begin.context]
                self._dry_at_s.pop(begin.context, None)

    async def _pace(self, audio: Audio) -> None:
        """Stay at most ``max_lead_s`` ahead of a listener who plays what was sent."""
        if (max_lead_s := audio.config.max_lead_s) is None:
            return
        now_s = time.monotonic()
        dry_at_s = max(now_s, self._dry_at_s.get(audio.context, 0.0)) + audio.duration_s
        self._dry_at_s[audio.context] = dry_at_s
        await asyncio.sleep(dry_at_s - now_s - max_lead_s)


ROUTES: list[BaseRoute] = [WebSocketRoute("/v1/audio/speech/stream", speech_stream)]
"""This door's."""
