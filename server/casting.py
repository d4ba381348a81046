"""Who says it and whose emotion it has: names, recordings and places become voices."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic

from server.references import References
from speakers.catalog import Catalog, Speaker
from speakers.recording import load_recording
from speakers.voices import VoiceCache
from streaming.errors import SpeechError
from streaming.fields import SpeechConfig, is_place
from streaming.request import SynthesisRequest
from streaming.speech import Recording, SpeechModel, VoiceT

_EMOTION = "emotion.reference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a request asks for, its names looked up: they mean what they meant when it came.

    ``speaker`` is ``None`` where ``recordings`` speak.
    """

    request: SynthesisRequest
    speaker: Speaker | None
    recordings: tuple[Recording, ...]
    emotion: Speaker | str | bytes | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cast(Generic[VoiceT]):
    """A part with its voices encoded."""

    request: SynthesisRequest
    voice: VoiceT
    emotion_voice: VoiceT | None


class Casting(Generic[VoiceT]):
    """Gives parts to voices."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        voices: VoiceCache[VoiceT],
        references: References,
        model: SpeechModel[VoiceT],
    ) -> None:
        self._catalog = catalog
        self._voices = voices
        self._references = references
        self._model = model

    def check(self, config: SpeechConfig) -> None:
        """Raise ``ReferenceRefused`` for a place that is certainly not allowed."""
        reference = config.emotion.reference
        if isinstance(reference, str) and is_place(reference):
            self._references.check(reference, param=_EMOTION)

    def part(
        self, request_id: str, config: SpeechConfig, recordings: Sequence[Recording] | None
    ) -> Part:
        """Look up the names of a request; raises ``UnknownVoice`` and ``ReferenceRefused``."""
        speaker = None if recordings else self._catalog.resolve(config.voice)
        request = config.request(
            request_id=request_id,
            voice=speaker.name if speaker else "",
            seed=secrets.randbits(31),
        )
        languages = self._model.info.languages
        if request.language is None and len(languages) == 1:
            # A text of digits alone would else be read in a language the model does not speak.
            request = replace(request, language=languages[0])
        self.check(config)
        emotion: Speaker | str | bytes | None = config.emotion.reference
        if isinstance(emotion, str) and not is_place(emotion):
            try:
                emotion = self._catalog.resolve(emotion)
            except SpeechError as error:
                error.param = _EMOTION
                raise
        return Part(
            request=request,
            speaker=speaker,
            recordings=tuple(recordings or ()),
            emotion=emotion,
        )

    async def cast(self, part: Part) -> Cast[VoiceT]:
        """Encode the voices of a part; raises ``SpeechError``."""
        request, emotion_voice = part.request, None
        if part.emotion is not None:
            try:
                key, emotion_voice = await self._emotion(part.emotion)
            except SpeechError as error:
                error.param = _EMOTION
                raise
            request = replace(request, emotion=replace(request.emotion, reference=key))
        if part.speaker is None:
            voice = await self._voices.get_recordings(part.recordings)
        else:
            voice = await self._voices.get(part.speaker.name)
        return Cast(request=request, voice=voice, emotion_voice=emotion_voice)

    async def _emotion(self, emotion: Speaker | str | bytes) -> tuple[str, VoiceT]:
        """The content hash of an emotion's recordings, and their voice."""
        if isinstance(emotion, Speaker):
            return emotion.key, await self._voices.get(emotion.name)
        if isinstance(emotion, bytes):
            loaded = await asyncio.to_thread(load_recording, emotion)
        else:
            loaded = await self._references.load(emotion, param=_EMOTION)
        return loaded.recording.sha256, await self._voices.get_recordings((loaded.recording,))
