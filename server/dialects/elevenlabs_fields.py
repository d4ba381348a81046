"""What ElevenLabs' clients ask for, in our words, and our errors in theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import JSONResponse, Response

from server.dialects.translated import PCM_OUTPUTS, Output, own_fields
from server.errors import ANSWERS, error_headers
from server.service import SynthesisService
from streaming.errors import BadConfig, SpeechError, UnsupportedFormat
from streaming.fields import parse_fields
from streaming.pieces import is_wide
from streaming.timings import ChunkTimer, Span

DEFAULT_OUTPUT = "mp3_44100_128"

OUTPUTS: Mapping[str, Output] = {
    **PCM_OUTPUTS,
    "ulaw_8000": Output(format="ulaw", sample_rate_hz=8_000),
    "alaw_8000": Output(format="alaw", sample_rate_hz=8_000),
    "mp3_22050_32": Output(format="mp3", sample_rate_hz=22_050, bit_rate=32_000),
    "mp3_24000_48": Output(format="mp3", sample_rate_hz=24_000, bit_rate=48_000),
    "mp3_44100": Output(format="mp3", sample_rate_hz=44_100, bit_rate=128_000),
    **{
        f"{kind}_{kbps}": Output(
            format=kind.partition("_")[0], sample_rate_hz=rate_hz, bit_rate=kbps * 1000
        )
        for kind, rate_hz in (("mp3_44100", 44_100), ("opus_48000", 48_000))
        for kbps in (32, 64, 96, 128, 192)
    },
}
"""What ``output_format`` may be."""

_CODES: Mapping[str, str] = {
    "unknown_voice": "voice_not_found",
    "unauthorized": "invalid_api_key",
    "rate_limited": "too_many_concurrent_requests",
    "overloaded": "system_busy",
    "draining": "system_busy",
    "idle": "input_timeout_exceeded",
}
"""ElevenLabs' words for errors that its clients know; others keep ours."""

_ENGLISH = "The quick brown fox jumps over the lazy dog, and then it has a rest. " * 8
_SHORTEST_CHUNK, _LONGEST_CHUNK = 50, 500
_LEAST_TOKENS = 4


def read_output(name: str) -> Output:
    """What an ``output_format`` stands for; raises ``UnsupportedFormat``."""
    if (output := OUTPUTS.get(name)) is None:
        raise UnsupportedFormat(
            f"output_format must be one of {', '.join(OUTPUTS)}", param="output_format"
        )
    return output


def read_changes(raw: Mapping[str, Any], service: SynthesisService[Any]) -> dict[str, Any]:
    """Checked changes from ElevenLabs' fields of a message or body, and from our own.

    Of the voice settings only ``speed`` has a counterpart. Raises ``InputError``.
    """
    changes = own_fields(raw)
    settings = _object(raw, "voice_settings")
    changes |= parse_fields(
        {
            "speed": settings.get("speed"),
            "language": raw.get("language_code"),
            "sampling": {"seed": raw.get("seed")},
        }
    )
    schedule = _object(raw, "generation_config").get("chunk_length_schedule")
    if schedule is not None:
        changes["chunking.first_max_tokens"] = _first_tokens(schedule, service)
    return changes


def error_code(error_or_code: SpeechError | str) -> str:
    """What ElevenLabs calls an error."""
    code = error_or_code if isinstance(error_or_code, str) else error_or_code.code
    return _CODES.get(code, code)


def error_response(error: SpeechError) -> Response:
    """An error over HTTP."""
    detail = {
        "status": error_code(error),
        "message": error.message,
        **({"param": error.param} if error.param else {}),
        **({"request_id": error.request_id} if error.request_id else {}),
    }
    return JSONResponse({"detail": detail}, ANSWERS[error.code].status, error_headers(error))


class Aligner:
    """Times of the characters of one chunk, as written and as read."""

    def __init__(
        self, *, text: str, normalized_text: str, first_sample: int, sample_rate_hz: int
    ) -> None:
        self._timers = tuple(
            ChunkTimer(text=_spaced(one), first_sample=first_sample, sample_rate_hz=sample_rate_hz)
            for one in (text, normalized_text)
        )

    def push(self, pcm: bytes) -> None:
        """Take samples of the chunk."""
        for timer in self._timers:
            timer.push(pcm)

    def times(self) -> tuple[Sequence[Span], Sequence[Span]]:
        """The characters as written and as read, without a hole from the chunk's start to end."""
        written, read = (timer.times() for timer in self._timers)
        return _whole(written.characters, written.end_ms), _whole(read.characters, read.end_ms)


def _spaced(text: str) -> str:
    """With the space that keeps its last word apart from the next chunk's first."""
    return text if not text or is_wide(text[-1]) else f"{text} "


def _whole(characters: Sequence[Span], end_ms: float) -> Sequence[Span]:
    ends_ms = [*(span.start_ms for span in characters[1:]), end_ms]
    return [
        Span(text=span.text, start_ms=span.start_ms, end_ms=max(span.start_ms, until_ms))
        for span, until_ms in zip(characters, ends_ms, strict=True)
    ]


def _object(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = raw.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadConfig(f"{name} must be an object", param=name)
    return value


def _first_tokens(schedule: object, service: SynthesisService[Any]) -> int:
    """A first chunk about as long as the schedule's first entry, in characters, asks for."""
    name = "generation_config.chunk_length_schedule"
    entries = schedule if isinstance(schedule, list) else []
    fit = [
        isinstance(entry, int | float) and _SHORTEST_CHUNK <= entry <= _LONGEST_CHUNK
        for entry in entries
    ]
    if not fit or not all(fit):
        raise BadConfig(
            f"{name} must be lengths from {_SHORTEST_CHUNK} to {_LONGEST_CHUNK}", param=name
        )
    tokens = service.estimate_tokens(_ENGLISH[: int(entries[0])])
    return max(_LEAST_TOKENS, min(tokens, service.info.limit_tokens))
