"""Engine rooms whose model is a tone, and servers around them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from server.app import create_app
from server.config import Settings
from server.service import SynthesisService
from server.transport import SpeechServer, listen, make_server
from speakers.registry import Registry
from speakers.uploads import UploadFolder
from speakers.voices import VoiceCache
from streaming.pipeline import SpeechPipeline
from streaming.session import Limits
from streaming.speech import ChunkReport, Prepared, Recording, Samples, Take
from tests.fakes import Tone, ToneModel, ToneScript
from tests.speakers.sounds import noise

LIMITS = Limits(idle_s=20.0, write_stall_s=5.0, message_characters=2_000, context_characters=5_000)
SETTINGS = Settings(limits=LIMITS, grace_s=2.0, warm_text="")


def write_speakers(folder: Path) -> Path:
    """A speaker.json of two people and one whose recording is a text file."""
    for seed, name in enumerate(("anna", "bert")):
        (folder / f"{name}.wav").write_bytes(noise(1.5, seed=seed))
    (folder / "text.wav").write_text("this is not audio")
    path = folder / "speaker.json"
    entries = {
        "anna": ["anna.wav"],
        "bert": {"recordings": ["bert.wav"], "language": "en", "aliases": ["bertie"]},
        "broken": ["text.wav"],
    }
    path.write_text(json.dumps(entries))
    return path


class WatchedModel(ToneModel):
    """Remembers what it was asked to speak."""

    def __init__(self, script: ToneScript) -> None:
        super().__init__(script=script)
        self.takes: list[Take[Tone]] = []
        self.encoded = 0

    async def encode(self, recordings: Sequence[Recording]) -> Tone:
        self.encoded += 1
        return await super().encode(recordings)

    def speak(self, prepared: Prepared, take: Take[Tone]) -> AsyncIterator[Samples | ChunkReport]:
        self.takes.append(take)
        return super().speak(prepared, take)


@dataclass
class Room:
    """A service, its model, and where it answers."""

    service: SynthesisService[Tone]
    model: WatchedModel
    url: str = ""
    server: SpeechServer | None = None

    @property
    def socket_url(self) -> str:
        """The native WebSocket."""
        return f"{self.url.replace('http', 'ws', 1)}/v1/audio/speech/stream"


def make_room(folder: Path, script: ToneScript | None = None, **changes: Any) -> Room:
    """A service; ``changes`` are fields of the settings, or of their limits."""
    of_limits = {k: changes.pop(k) for k in list(changes) if hasattr(LIMITS, k)}
    settings = replace(SETTINGS, limits=replace(LIMITS, **of_limits), **changes)
    model = WatchedModel(script or ToneScript())
    uploads = None
    if settings.voices_dir is not None:
        uploads = UploadFolder(
            settings.voices_dir,
            max_voices=settings.voices_max,
            max_bytes=settings.voices_max_bytes,
        )
    service = SynthesisService(
        model=model,
        pipeline=SpeechPipeline(model),
        voices=VoiceCache(model),
        registry=Registry(write_speakers(folder), uploads=uploads),
        settings=settings,
    )
    return Room(service=service, model=model)


async def eventually(check: Callable[[], Awaitable[bool]], timeout_s: float = 5.0) -> None:
    """Return when ``check`` holds; fail after ``timeout_s``."""
    give_up_s = time.monotonic() + timeout_s
    while time.monotonic() < give_up_s:
        if await check():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


@asynccontextmanager
async def in_process(room: Room) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application without sockets."""
    app = create_app(room.service, room.service.settings)
    async with room.service.running():
        await room.service.warmed.wait()
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client


@asynccontextmanager
async def serving(room: Room) -> AsyncIterator[Room]:
    """The room behind a real socket on a free port."""
    service, limits = room.service, room.service.settings.limits
    listener = listen("127.0.0.1", 0, limits=limits)
    room.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = make_server(
        create_app(service, service.settings),
        limits=limits,
        head_timeout_s=service.settings.body_timeout_s,
        drain=lambda: service.drain(service.settings.grace_s),
    )
    room.server = server
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await service.warmed.wait()
    try:
        yield room
    finally:
        server.should_exit = True
        await task
