"""The one place where models and speakers meet: settings in, a service out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from indextts.checkpoint import CheckpointError
from indextts.device import DeviceError, choose_device, choose_dtype, set_cpu_threads
from indextts.loading import load_model
from server.config import Settings
from server.service import SynthesisService
from speakers.disk import DiskCache
from speakers.registry import Registry
from speakers.uploads import UploadFolder
from speakers.voices import VoiceCache
from streaming.errors import SpeechError
from streaming.pipeline import SpeechPipeline
from streaming.speech import SpeechModel
from streaming.worker import DeviceWorker

OPERATOR_ERRORS = (CheckpointError, DeviceError, SpeechError, OSError)
"""What ``compose`` raises with a message for an operator."""


def compose(
    settings: Settings, progress: Callable[[str], None] = lambda step: None
) -> SynthesisService[Any]:
    """Load the checkpoint and the speakers and connect them; blocking.

    ``progress`` hears what is being loaded. Raises ``CheckpointError``, ``DeviceError`` and
    ``BadConfig`` (for speaker.json) with messages for an operator.
    """
    if settings.engine not in ("auto", "torch"):
        raise CheckpointError(
            f"engine {settings.engine!r} is not part of this version; use --engine torch"
        )
    device = choose_device(settings.device)
    dtype = choose_dtype(settings.dtype, device)
    if device.type == "cpu":
        set_cpu_threads(None)
    progress("speakers")
    registry = Registry(
        settings.voices[0] if settings.voices else shipped_speakers(), uploads=_uploads(settings)
    )
    worker = DeviceWorker()
    model = load_model(settings.model, worker, device=device, dtype=dtype, progress=progress)
    speaking: SpeechModel[Any] = model

    disk = None
    if settings.voice_cache is not None:
        disk = DiskCache(settings.voice_cache, fingerprint=model.fingerprint)

    async def start() -> None:
        worker.start()
        await model.start()
        await asyncio.to_thread(service.casting.sandbox.start)

    async def stop() -> None:
        await model.close()
        await worker.close()

    service = SynthesisService(
        model=speaking,
        pipeline=SpeechPipeline(speaking, ahead_s=settings.limits.unsent_audio_s),
        voices=VoiceCache(speaking, disk=disk),
        registry=registry,
        settings=settings,
        start=start,
        stop=stop,
    )
    return service


def _uploads(settings: Settings) -> UploadFolder | None:
    if settings.voices_dir is None:
        return None
    settings.voices_dir.mkdir(parents=True, exist_ok=True)
    return UploadFolder(
        settings.voices_dir,
        max_voices=settings.voices_max,
        max_bytes=settings.voices_max_bytes,
    )


def shipped_speakers() -> Path:
    """The speaker.json that comes with the package, in a checkout or installed."""
    root = Path(__file__).parents[1]
    places = (root / "speaker.json", root / "indextts_stream" / "speaker.json")
    return next((place for place in places if place.is_file()), places[0])
