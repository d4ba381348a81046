"""The native WebSocket: carries out what the session says, one task group per connection."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket

from server import encoding
from server.admission import caller_of
from server.encoding import make_encoder
from server.errors import close_code
from server.line import Gone, Line, Lost
from server.openapi import ApiRoute, Operation
from server.resume import Parking, ResumeTokens
from server.service import SynthesisService
from server.speeches import Speeches
from streaming.effects import (
    Audio,
    Begin,
    Close,
    Effect,
    Feed,
    Finish,
    Flush,
    Resume,
    Send,
    Stop,
)
from streaming.errors import BadMessage, Internal, Overloaded, ResumeExpired, SpeechError, Stalled
from streaming.events import Event
from streaming.schema import protocol_schema
from streaming.session import Limits, Session
from streaming.wire import Failure, SessionConfig, SessionCreated, encode

logger = logging.getLogger(__name__)

FORMATS = encoding.FORMATS
"""What this door offers."""

_OUTBOX_MESSAGES = 64
_ANY_RATE_HZ = 24_000


async def speech_stream(websocket: WebSocket) -> None:
    """``/v1/audio/speech/stream``."""
    service: SynthesisService[Any] = websocket.app.state.service
    await Connection(service, websocket, service.settings.limits).serve()


async def schema(_: Request) -> Response:
    """``GET /v1/schema``: JSON Schema of every message of the WebSocket."""
    return JSONResponse(protocol_schema())


class Connection:
    """One socket. Effects are carried out in order; the outbox is the only way to the peer.

    Audio waits until the outbox is empty, so at most one frame per context is ever unsent. Another
    dialect is a subclass that translates what comes (``take``) and what goes (``put``).
    """

    def __init__(
        self, service: SynthesisService[Any], websocket: WebSocket, limits: Limits
    ) -> None:
        self._service = service
        self._line = Line(websocket, write_stall_s=limits.write_stall_s)
        self._limits = limits
        self.caller = caller_of(websocket.scope)
        self.check: Callable[[], None] = partial(websocket.app.state.check_caller, self.caller)
        self._id = secrets.token_hex(8)
        self._parking = Parking(self._line, limits)
        self._tokens: ResumeTokens[Connection] = websocket.app.state.resume_tokens
        self._token = ResumeTokens.new()
        self._asked: SessionConfig | None = None
        self._heir: Connection | None = None
        self._session = Session(
            greeting=SessionCreated(
                session_id=self._id,
                model=service.info.name,
                version=service.info.version,
                limits=asdict(self._limits),
                voices_etag=service.catalog.etag,
                resume_token=self._token if limits.resume_s else None,
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
        resumable = self._session.resumable and self._limits.resume_s > 0
        if resumable and not self._line.resumable:
            self._parking.replay = self._session.replay()
            self._tokens.offer(self._token, key_id=self.caller.key_id, owner=self)
        elif self._line.resumable and not resumable:
            self._tokens.withdraw(self._token)
        self._line.resumable = resumable

    def refuse(self, error: BadMessage) -> None:
        """A message that a dialect cannot translate."""
        self._carry_out(self._session.refuse(error))

    def put(self, effect: Send | Audio) -> None:
        """Say something to the peer."""
        payload = effect.message if isinstance(effect, Send) else effect.payload
        self.say(payload if isinstance(payload, bytes) else encode(payload))

    def say(self, data: str | bytes) -> None:
        """Put a message into the outbox."""
        self._line.put(data)

    async def serve(self) -> None:
        """Accept and serve until either side closes; nothing of the connection outlives this."""
        await self._line.websocket.accept()
        self._service.sessions += 1
        try:
            await self._run()
        finally:
            self._service.sessions -= 1
            self._tokens.withdraw(self._token)
            self._parking.end()
        if self._heir is not None and self._asked is not None:
            await self._heir.go_on(self._line.websocket, self._asked, self._token)

    async def go_on(self, websocket: WebSocket, asked: SessionConfig, token: str) -> None:
        """The client is back on another socket; return when that one is no longer used."""
        if not self._parking.over:
            self._token = token
            self._tokens.offer(token, key_id=self.caller.key_id, owner=self)
        if not self._parking.attach(websocket):
            await websocket.close(close_code(ResumeExpired.code))
            return
        replay = self._parking.replay
        for effect in self._session.resume(asked.next_sample or {}, replay):
            if isinstance(effect, Send | Audio):
                self.put(effect)
            else:
                self._do(effect)
        self._configure(asked)
        await self._parking.left()

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                self._speeches = Speeches(self, self._service, group)
                group.create_task(self._line.write(self._stalled), name=f"{self._id} write")
                group.create_task(self._watch(), name=f"{self._id} watch")
                self._carry_out(self._session.open())
                settings = self._service.settings
                if self._service.sessions > settings.sessions:
                    full = Overloaded("too many sessions", retry_after_s=settings.retry_after_s)
                    self._carry_out(self._session.end(full))
                group.create_task(self._drain(), name=f"{self._id} drain")
                await self._read()
        except* Gone:
            logger.debug("session %s is over", self._id)

    async def _read(self) -> None:
        """Messages of the peer; no further ones while it does not take our answers."""
        while True:
            try:
                data = await self._line.receive()
            except Lost:
                await self._park()
                continue
            try:
                self.take(data)
            except Exception:
                logger.exception("session %s failed", self._id)
                error = Internal("something went wrong", request_id=self._id)
                self._carry_out(self._session.end(error))
            if self._asked is not None:
                await self._hand_over(self._asked)
            if self._line.unsent > _OUTBOX_MESSAGES:
                await self._line.eased()
            await asyncio.sleep(0)  # messages that are all there leave others no turn

    async def _park(self) -> None:
        """Wait for another socket if one may come; raises ``Gone`` otherwise."""
        if not self._line.resumable or self._service.admission.draining.is_set():
            raise Gone
        await self._parking.wait()

    async def _hand_over(self, asked: SessionConfig) -> None:
        """Leave the socket to the connection that a client had before; raises ``Gone`` then."""
        token = asked.resume_token or ""
        if token != self._token:
            self._heir = self._tokens.take(token, key_id=self.caller.key_id)
        if self._heir is not None and await self._heir._parking.let_go():
            await self._line.eased()
            raise Gone
        self._heir = self._asked = None
        message = f"the token is unknown, used, or older than {self._limits.resume_s:g} s"
        self._carry_out([self._session.tell(ResumeExpired(message))])
        self._configure(asked)

    def _configure(self, asked: SessionConfig) -> None:
        """Do what else a message says that names a token."""
        self.receive(encode(SessionConfig(changes=asked.changes, resume=asked.resume)))

    def _stalled(self) -> None:
        error = Stalled(f"nothing was read for {self._limits.write_stall_s:g} s")
        self._carry_out(self._session.end(error) or [Close(code=error.code)])

    async def _watch(self) -> None:
        """Tell the session the time."""
        pause_s = min(1.0, self._limits.idle_s / 4)
        while True:
            await asyncio.sleep(pause_s)
            self._carry_out(self._session.tick(time.monotonic()))

    async def _drain(self) -> None:
        admission = self._service.admission
        await admission.draining.wait()
        if self._line.parked:
            raise Gone  # whoever comes back is not let in any more
        self._carry_out(self._session.drain(admission.refusal()))

    async def hear(self, number: int, event: Event) -> list[Effect]:
        """An event of a context's pipeline; returns when the peer has taken what came of it."""
        effects = self._session.event(number, event, time.monotonic())
        self._carry_out(effects)
        await self._line.join()
        return effects

    def fail(self, number: int, error: SpeechError) -> None:
        """A context's pipeline has failed."""
        self._carry_out(self._session.failed(number, error))

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, Failure):
                self._service.metrics.count(effect.message.code)
            if self._line.resumable:
                self._parking.replay.keep(effect, time.monotonic())
            self._do(effect)

    def _do(self, effect: Effect) -> None:
        match effect:
            case Send() | Audio():
                self.put(effect)
            case Begin() | Feed() | Flush() | Finish() | Stop():
                self._speeches.do(effect)
            case Resume(message=message):
                self._asked = message
            case Close():
                self._line.put(effect)


ROUTES: list[BaseRoute] = [
    WebSocketRoute("/v1/audio/speech/stream", speech_stream),
    ApiRoute("/v1/schema", schema, Operation()),
]
"""This door's."""
