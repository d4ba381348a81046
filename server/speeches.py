"""The pipelines of one connection: fed, stopped, paced."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from server.admission import Caller
from server.encoding import make_encoder
from server.feed import TextFeed
from server.service import SynthesisService
from streaming.effects import Audio, Begin, Effect, Feed, Finish, Flush, Stop
from streaming.errors import Internal, SpeechError
from streaming.events import Event
from streaming.speech import Brake

logger = logging.getLogger(__name__)

_ANY_RATE_HZ = 24_000


class Listener(Protocol):
    """Who hears what the pipelines say."""

    caller: Caller
    check: Callable[[], None]
    """Raises ``Unauthorized`` when the caller may begin nothing any more."""

    async def hear(self, number: int, event: Event) -> list[Effect]:
        """An event of a context; returns when it was taken, with what came of it."""
        ...

    def fail(self, number: int, error: SpeechError) -> None:
        """A context has failed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Speech:
    feed: TextFeed
    brake: Brake
    task: asyncio.Task[None]


class Speeches:
    """What speaks at present, by the number of its context; every task belongs to ``group``."""

    def __init__(
        self, listener: Listener, service: SynthesisService[Any], group: asyncio.TaskGroup
    ) -> None:
        self._listener = listener
        self._service = service
        self._group = group
        self._speeches: dict[int, _Speech] = {}
        self._dry_at_s: dict[int, float] = {}

    def do(self, effect: Begin | Feed | Flush | Finish | Stop) -> None:
        """Carry out an effect of the session."""
        match effect:
            case Begin(context=number):
                feed, brake = TextFeed(), Brake()
                speaking = self._speak(effect, feed, brake)
                task = self._group.create_task(speaking, name=effect.request_id)
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

    async def _speak(self, begin: Begin, feed: TextFeed, brake: Brake) -> None:
        """Run a pipeline and have its events heard."""
        number, request_id, config = begin.context, begin.request_id, begin.config
        speech = self._service.speak(request_id, config, feed, brake, caller=self._listener.caller)
        try:
            self._listener.check()
            if config.format not in ("pcm", "wav"):
                # The first one loads a library, which is nothing for the event loop.
                await asyncio.to_thread(make_encoder, config.format, _ANY_RATE_HZ)
            async with aclosing(speech) as events:
                async for event in events:
                    for effect in await self._listener.hear(number, event):
                        if isinstance(effect, Audio):
                            await self._pace(effect)
        except SpeechError as error:
            logger.info("request %s: %s", request_id, error.code)
            self._listener.fail(number, error)
        except Exception:
            logger.exception("request %s failed", request_id)
            internal = Internal("something went wrong", request_id=request_id)
            self._listener.fail(number, internal)
        finally:
            current = self._speeches.get(number)
            if current is not None and current.feed is feed:
                del self._speeches[number]
                self._dry_at_s.pop(number, None)

    async def _pace(self, audio: Audio) -> None:
        """Stay at most ``max_lead_s`` ahead of a listener who plays what was sent."""
        if (max_lead_s := audio.config.max_lead_s) is None:
            return
        now_s = time.monotonic()
        dry_at_s = max(now_s, self._dry_at_s.get(audio.context, 0.0)) + audio.duration_s
        self._dry_at_s[audio.context] = dry_at_s
        await asyncio.sleep(dry_at_s - now_s - max_lead_s)
