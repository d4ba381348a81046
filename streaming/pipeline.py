"""From text chunks to PCM events: look-ahead, order, bounds, cancellation."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Generic

from streaming.chunks import TextChunk, TextChunker
from streaming.events import Event
from streaming.request import SynthesisRequest
from streaming.speech import SpeechModel, VoiceT


class SpeechPipeline(Generic[VoiceT]):
    """Speaks contexts through one model; one instance per server, shared by all contexts."""

    def __init__(
        self,
        model: SpeechModel[VoiceT],
        *,
        clock: Callable[[], float] = time.monotonic,
        look_ahead: int = 2,
        ahead_s: float = 30.0,
        prepare_threads: int = 2,
    ) -> None:
        self._model = model

    async def speak(
        self,
        request: SynthesisRequest,
        voice: VoiceT,
        chunks: AsyncIterator[TextChunk],
        *,
        emotion_voice: VoiceT | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Yield the events of one context; use ``contextlib.aclosing``: closing cancels everything.

        Raises ``SpeechError``; anything unexpected becomes ``Internal`` with the request id.
        """
        return
        yield

    async def speak_text(
        self,
        request: SynthesisRequest,
        voice: VoiceT,
        text: str,
        *,
        emotion_voice: VoiceT | None = None,
    ) -> AsyncGenerator[Event, None]:
        """``speak`` for a text that is already whole."""
        return
        yield

    def chunker(
        self, request: SynthesisRequest, *, limit_characters: int = 1_000_000
    ) -> TextChunker:
        """A chunker with the caps of the request, or the checkpoint's.

        Raises ``BadConfig`` when a cap is out of the model's range.
        """
        return TextChunker(
            estimate_tokens=self._model.estimate_tokens, first_max_tokens=1, max_tokens=1
        )

    def close(self) -> None:
        """Let the preparing threads end."""
