"""Who says it and whose emotion it has: names, recordings and places become voices."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Generic

from server.config import Settings
from server.references import References
from speakers.catalog import Speaker
from speakers.recording import load_recording
from speakers.registry import Registry
from speakers.sandbox import Sandbox
from speakers.uploads import Sheet, to_wav
from speakers.voices import VoiceCache
from streaming.errors import Overloaded, SpeechError
from streaming.fields import SpeechConfig, is_place
from streaming.request import SynthesisRequest
from streaming.speech import Recording, SpeechModel, VoiceT

_EMOTION = "emotion.reference"
_DESKS = 8
_DESK_RETRY_S = 2.0


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
    """Gives parts to voices; owns all that knows of speakers.

    Recordings out of requests are decoded in a process of their own.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        voices: VoiceCache[VoiceT],
        model: SpeechModel[VoiceT],
        settings: Settings,
    ) -> None:
        self.registry = registry
        self.voices = voices
        self.sandbox = Sandbox()
        self.references = References(
            decode=self.sandbox.decode,
            hosts=settings.reference_hosts,
            folders=settings.reference_dirs,
            timeout_s=settings.reference_timeout_s,
        )
        self._model = model
        self._desks: Counter[str] = Counter()
        self._refresh_s = settings.voices_refresh_s

    def start(self) -> None:
        """Follow changes of the speakers."""
        self._watching = asyncio.create_task(
            self.registry.watch(self._refresh_s), name="watch speakers"
        )

    async def aclose(self) -> None:
        """Stop everything, after ``start``."""
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)
        await self.voices.aclose()
        await asyncio.to_thread(self.sandbox.close)

    def check(self, config: SpeechConfig) -> None:
        """Raise ``ReferenceRefused`` for a place that is certainly not allowed."""
        reference = config.emotion.reference
        if isinstance(reference, str) and is_place(reference):
            self.references.check(reference, param=_EMOTION)

    def part(
        self, request_id: str, config: SpeechConfig, recordings: Sequence[Recording] | None
    ) -> Part:
        """Look up the names of a request; raises ``UnknownVoice`` and ``ReferenceRefused``."""
        speaker = None if recordings else self.registry.catalog.resolve(config.voice)
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
                emotion = self.registry.catalog.resolve(emotion)
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
            voice = await self.voices.get_recordings(part.recordings)
        else:
            voice = await self.voices.get(part.speaker)
        return Cast(request=request, voice=voice, emotion_voice=emotion_voice)

    @contextmanager
    def desk(self, key_id: str) -> Iterator[None]:
        """Hold one of the few places to hand in a voice; raises ``Overloaded``.

        A key may have one more while more are free than it has, so none ever has all of them.
        """
        if self._desks[key_id] >= _DESKS - self._desks.total():
            raise Overloaded("voices are handed in just now", retry_after_s=_DESK_RETRY_S)
        self._desks[key_id] += 1
        try:
            yield
        finally:
            self._desks[key_id] -= 1
            self._desks += Counter()  # forgets keys that have none

    async def enroll(self, sheet: Sheet, files: Sequence[bytes]) -> tuple[Speaker, list[str]]:
        """Check, encode and keep a voice; everybody can use it, without delay, from now on.

        Gives the speaker and what is to be known of the recordings. Raises ``BadRecording``,
        ``BadConfig``, ``Overloaded``, and what encoding raises; nothing is kept then.
        """
        self.registry.check_free(sheet.name)
        wavs, warnings = [], []
        for data in files:
            loaded = await self.sandbox.decode(data)
            wavs.append(await asyncio.to_thread(to_wav, loaded.recording))
            warnings += [loaded.warning] if loaded.warning else []
        recordings = [(await asyncio.to_thread(load_recording, wav)).recording for wav in wavs]
        await self.voices.get_recordings(recordings)
        return await asyncio.to_thread(self.registry.add, sheet, wavs), warnings

    async def dismiss(self, name: str, *, owner: str) -> None:
        """Delete an uploaded voice and everything made of it; who speaks with it is not disturbed.

        Raises as ``Registry.remove`` does.
        """
        speaker = await asyncio.to_thread(self.registry.remove, name, owner=owner)
        if all(other.key != speaker.key for other in self.registry.catalog.speakers):
            await self.voices.forget(speaker.key)

    async def _emotion(self, emotion: Speaker | str | bytes) -> tuple[str, VoiceT]:
        """The content hash of an emotion's recordings, and their voice."""
        if isinstance(emotion, Speaker):
            return emotion.key, await self.voices.get(emotion)
        if isinstance(emotion, bytes):
            loaded = await self.sandbox.decode(emotion)
        else:
            loaded = await self.references.load(emotion, param=_EMOTION)
        return loaded.recording.sha256, await self.voices.get_recordings((loaded.recording,))
