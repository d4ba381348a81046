"""The base of sockets that speak another service's protocol: a native session, translated."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.websockets import WebSocket

from server.encoding import Encoder, make_encoder
from server.service import SynthesisService
from server.websocket import Connection
from streaming.effects import Audio, Send
from streaming.errors import BadMessage
from streaming.fields import SAMPLE_RATES_HZ, Changes, SpeechConfig, parse_fields
from streaming.session import Limits
from streaming.wire import (
    HEADER_BYTES,
    ClientMessage,
    ServerMessage,
    SessionConfig,
    SessionCreated,
    encode,
    parse_json,
)

OWN_FIELDS = ("language", "speed", "emotion", "sampling", "chunking", "glossary")
"""Fields of the native protocol that the messages of every dialect may carry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What audio is packed in."""

    format: str
    sample_rate_hz: int
    bit_rate: int | None = None

    def encoder(self) -> Encoder:
        """An encoder for one stream."""
        return make_encoder(self.format, self.sample_rate_hz, bit_rate=self.bit_rate)


PCM_OUTPUTS: Mapping[str, Output] = {
    f"pcm_{rate_hz}": Output(format="pcm", sample_rate_hz=rate_hz) for rate_hz in SAMPLE_RATES_HZ
}
"""Raw PCM at every rate."""


def own_fields(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Checked changes from the fields of ours in a message; raises as ``parse_fields`` does."""
    return dict(parse_fields({name: raw[name] for name in OWN_FIELDS if name in raw}))


async def admit(
    service: SynthesisService[Any], changes: Changes, output: Output
) -> Mapping[str, Any]:
    """The configuration of a session that can be served.

    Raises ``InputError``, before anything is accepted.
    """
    config = SpeechConfig().updated(changes)
    service.check(config, ("pcm",))
    service.catalog.resolve(config.voice)
    await asyncio.to_thread(output.encoder)  # the first one loads a library
    return {**changes, "sample_rate": output.sample_rate_hz, "framing": "tagged"}


class Translated(Connection):
    """A native connection whose peer speaks another dialect.

    Subclasses turn its messages into native ones (``translate``) and put what comes of them in its
    words (``tell``, ``sound``). Contexts of different ids speak at the same time.
    """

    def __init__(
        self,
        service: SynthesisService[Any],
        websocket: WebSocket,
        limits: Limits,
        *,
        changes: Changes,
        output: Output,
    ) -> None:
        super().__init__(service, websocket, limits)
        self.output = output
        self._changes = changes

    @abstractmethod
    def translate(self, raw: dict[str, Any]) -> None:
        """Do what a message of the peer asks for; raises ``BadMessage``."""

    @abstractmethod
    def tell(self, message: ServerMessage) -> None:
        """Say a native message in the peer's words, or not at all."""

    @abstractmethod
    def sound(self, context_id: str, pcm: bytes) -> None:
        """Send audio of a context."""

    def take(self, data: str | bytes) -> None:
        """A message of the peer."""
        try:
            if isinstance(data, bytes):
                raise BadMessage("binary where text is due")
            self.translate(parse_json(data))
        except BadMessage as error:
            self.refuse(error)

    def do(self, message: ClientMessage) -> None:
        """What the peer asks for, as a native message."""
        self.receive(encode(message))

    def put(self, effect: Send | Audio) -> None:
        """Something for the peer."""
        match effect:
            case Audio(context_id=context_id, payload=bytes() as payload):
                self.sound(context_id, payload[HEADER_BYTES:])
            case Send(message=SessionCreated() as greeting):
                self.do(SessionConfig(changes=self._changes))
                self.tell(greeting)
            case Send(message=message):
                self.tell(message)
