"""The routes of index-tts-vllm and of its streaming fork, with what was wrong with them put right.

Bodies of their clients are taken as they are; besides, every route takes the fields of ours in
``OWN_FIELDS``. Recordings named by path are read where the operator allows it, else refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from server.admission import caller_of
from server.http import SPEECH, SpeechResponse, read_json
from server.jobs import BODY, PCM_RATE_HZ, SpeechJob, read_job
from server.openapi import OBJECT, ApiRoute, Operation, Schema, body_of
from server.operations import service_of
from server.service import SynthesisService
from speakers.catalog import MAX_RECORDINGS
from streaming.errors import BadConfig, BadMessage, SpeechError
from streaming.fields import MAX_EMOTION_CHARS, EmotionConfig, SpeechConfig, is_place
from streaming.request import EMOTIONS, Chunking

PREFIX = "/index-tts/v1"
"""Where the streaming fork has its routes; index-tts-vllm has none."""

OWN_FIELDS = (
    "response_format",
    "sample_rate",
    "speed",
    "language",
    "glossary",
    "emotion",
    "sampling",
    "chunking",
    "stream",
    "stream_format",
)
"""Fields of our own route that the others take, too."""

V2_RATE_HZ = 22_050
V2_GAP_MS = 200
V1_SEED = 8
"""What clients of the originals get without asking."""

_WAV = SpeechConfig(format="wav", sample_rate=PCM_RATE_HZ)
_PCM = SpeechConfig(format="pcm", sample_rate=PCM_RATE_HZ)
_V2 = SpeechConfig(format="wav", sample_rate=V2_RATE_HZ, chunking=Chunking(gap_ms=V2_GAP_MS))
_MAX_VECTOR_SUM = 1.5
_MAX_WEIGHT = 1.6
_FEWEST_TOKENS = 4

Fields: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A body in the words of our own route: ``fields`` over ``default``, and what has none there.

    ``paths`` are recordings that speak, named by the field ``paths_param``; ``names`` has our names
    of fields and theirs, for refusals.
    """

    fields: Fields
    default: SpeechConfig = _WAV
    emotion: EmotionConfig | None = None
    paths: tuple[str, ...] = ()
    paths_param: str = "audio_paths"
    names: Mapping[str, str] = field(default_factory=dict)


Translate: TypeAlias = Callable[[Fields, SynthesisService[Any]], Order]


class SeedResponse(SpeechResponse):
    """Speech whose refusals name the fields that the client knows."""

    def __init__(
        self, service: SynthesisService[Any], job: SpeechJob, names: Mapping[str, str]
    ) -> None:
        super().__init__(service, job)
        self._names = names

    def refusal(self, error: SpeechError) -> Response:
        """An error before the first byte."""
        return super().refusal(_renamed(error, self._names))


def speaking(translate: Translate) -> Callable[[Request], Any]:
    """The endpoint that speaks what ``translate`` makes of a body."""

    async def speak(request: Request) -> Response:
        service = service_of(request)
        order = translate(await read_json(request, service), service)
        try:
            job = read_job(order.fields, service, request.state.request_id, default=order.default)
            if order.emotion is not None:
                job = replace(job, config=replace(job.config, emotion=order.emotion))
            service.admission.check(caller_of(request.scope))
            loaded = await service.references.load_all(order.paths, param=order.paths_param)
        except SpeechError as error:
            raise _renamed(error, order.names) from None
        recordings = tuple(one.recording for one in loaded)
        return SeedResponse(service, replace(job, recordings=recordings), order.names)

    speak.__doc__ = translate.__doc__
    return speak


def by_name(raw: Fields, service: SynthesisService[Any]) -> Order:
    """``/tts``: ``text`` in the voice ``character`` or, in the fork, ``reference_id``."""
    param = "reference_id" if raw.get("reference_id") is not None else "character"
    voice = raw.get(param)
    if not isinstance(voice, str):
        raise BadMessage("character or reference_id must be the name of a voice", param=param)
    fields = {**_own(raw), "input": raw.get("text"), "voice": voice, "seed": raw.get("seed")}
    return Order(fields=fields, names={"input": "text", "voice": param})


def by_name_raw(raw: Fields, service: SynthesisService[Any]) -> Order:
    """``/tts_stream``: the same as raw PCM, as it is made."""
    return replace(by_name(raw, service), default=_PCM)


def plain_tts(raw: Fields, service: SynthesisService[Any]) -> Order:
    """``/tts``: WAV, or what the operator's old clients take it for."""
    if service.settings.legacy_tts_body == "pcm":
        return by_name_raw(raw, service)
    return by_name(raw, service)


def by_path(raw: Fields, service: SynthesisService[Any]) -> Order:
    """``/tts_url``: ``text`` in the voice of recordings on the server."""
    if raw.get("spk_audio_path") is not None:
        return _v2(raw, service)
    paths = raw.get("audio_paths")
    if not isinstance(paths, list) or not 1 <= len(paths) <= MAX_RECORDINGS:
        raise BadMessage(
            f"audio_paths must be a list of 1 to {MAX_RECORDINGS} paths", param="audio_paths"
        )
    seed = raw.get("seed")
    return Order(
        fields={**_own(raw), "input": raw.get("text"), "seed": V1_SEED if seed is None else seed},
        paths=tuple(_path(path, "audio_paths") for path in paths),
        names={"input": "text"},
    )


def openai(raw: Fields, service: SynthesisService[Any]) -> Order:
    """``/audio/speech``: OpenAI's fields; WAV where no format is asked for."""
    return Order(fields=raw)


async def health(request: Request) -> Response:
    """``GET /health``, as both had it: 503 until the server is ready."""
    state = service_of(request).state
    well = state == "ready"
    body = {
        "status": "healthy" if well else "unhealthy",
        "message": "the server is ready" if well else f"the server is not ready: {state}",
        "timestamp": time.time(),
    }
    return JSONResponse(body, 200 if well else 503)


async def voices(request: Request) -> Response:
    """``GET /audio/voices``: names and the files they come from, in the form of speaker.json."""
    speakers = service_of(request).catalog.speakers
    usable = [speaker for speaker in speakers if speaker.unavailable is None]
    return JSONResponse({one.name: [file.name for file in one.files] for one in usable})


def _v2(raw: Fields, service: SynthesisService[Any]) -> Order:
    own = _own(raw)
    name = "max_text_tokens_per_sentence"
    if raw.get(name) is not None:
        tokens = int(_number(raw, name, 120, _FEWEST_TOKENS, 10_000, whole=True))
        own.setdefault("chunking", {"max_tokens": min(tokens, service.info.limit_tokens)})
    emotion = None if "emotion" in own else _emotion(raw, service)
    if isinstance(emotion, dict):
        own["emotion"], emotion = emotion, None
    return Order(
        fields={**own, "input": raw.get("text"), "seed": raw.get("seed")},
        default=_V2,
        emotion=emotion,
        paths=(_path(raw["spk_audio_path"], "spk_audio_path"),),
        paths_param="spk_audio_path",
        names={
            "input": "text",
            "emotion.reference": "emo_ref_path",
            "emotion.vector": "emo_vec",
            "emotion.text": "emo_text",
        },
    )


def _emotion(raw: Fields, service: SynthesisService[Any]) -> EmotionConfig | dict[str, Any]:
    """What ``emo_control_method`` chooses, checked or to be checked as our own field.

    A weight counts for a recording only, as in the original.
    """
    random = raw.get("emo_random") or False
    if not isinstance(random, bool):
        raise BadConfig("emo_random must be true or false", param="emo_random")
    match _number(raw, "emo_control_method", 0, 0, 3, whole=True):
        case 1 if raw.get("emo_ref_path") is not None:
            path = _path(raw["emo_ref_path"], "emo_ref_path")
            service.references.check(path, param="emo_ref_path")
            weight = _number(raw, "emo_weight", 1.0, 0.0, _MAX_WEIGHT)
            return EmotionConfig(reference=path, weight=weight, random=random)
        case 2:
            return EmotionConfig(vector=_vector(raw.get("emo_vec")), random=random)
        case 3:
            text = raw.get("emo_text") or raw.get("text")
            text = text[:MAX_EMOTION_CHARS] if isinstance(text, str) else text
            return {"text": text, "random": random}
    return EmotionConfig()


def _vector(value: object) -> tuple[float, ...]:
    value = [0.0] * len(EMOTIONS) if value is None else value
    if not isinstance(value, list) or len(value) != len(EMOTIONS):
        raise BadConfig(f"emo_vec must have {len(EMOTIONS)} values", param="emo_vec")
    vector = tuple(
        _number({"emo_vec": item}, "emo_vec", 0.0, 0.0, _MAX_VECTOR_SUM) for item in value
    )
    if sum(vector) > _MAX_VECTOR_SUM:
        raise BadConfig(f"emo_vec may add up to {_MAX_VECTOR_SUM}", param="emo_vec")
    return vector


def _number(
    raw: Fields, name: str, default: float, low: float, high: float, *, whole: bool = False
) -> float:
    value = raw.get(name)
    if value is None:
        return default
    kind = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
        raise BadConfig(f"{name} must be from {low:g} to {high:g}", param=name)
    return float(value)


def _path(value: object, param: str) -> str:
    """A path or URL; a bare file name is marked as one, so that nobody takes it for a voice."""
    if not isinstance(value, str) or not value:
        raise BadMessage(f"{param} must be a path", param=param)
    return value if is_place(value) else f"./{value}"


def _own(raw: Fields) -> dict[str, Any]:
    return {name: raw[name] for name in OWN_FIELDS if raw.get(name) is not None}


def _renamed(error: SpeechError, names: Mapping[str, str]) -> SpeechError:
    error.param = names.get(error.param or "", error.param)
    return error


_TEXT: Schema = {"type": "string", "minLength": 1}
_PATH: Schema = {"type": "string", "minLength": 1}
_OWN: dict[str, Schema] = {name: BODY["properties"][name] for name in OWN_FIELDS}
_BY_NAME = body_of(["text"], text=_TEXT, character=_TEXT, reference_id=_TEXT, **_OWN)
_BY_PATH = body_of(
    ["text"],
    text=_TEXT,
    audio_paths={"type": "array", "items": _PATH, "minItems": 1, "maxItems": MAX_RECORDINGS},
    seed=BODY["properties"]["seed"],
    spk_audio_path=_PATH,
    emo_control_method={"enum": [0, 1, 2, 3]},
    emo_ref_path=_PATH,
    emo_weight={"type": "number", "minimum": 0, "maximum": _MAX_WEIGHT},
    emo_vec={
        "type": "array",
        "items": {"type": "number", "minimum": 0, "maximum": _MAX_VECTOR_SUM},
        "minItems": len(EMOTIONS),
        "maxItems": len(EMOTIONS),
    },
    emo_text={"type": "string"},
    emo_random={"type": "boolean"},
    max_text_tokens_per_sentence={"type": "integer", "minimum": _FEWEST_TOKENS, "maximum": 10_000},
    **_OWN,
)


def _spoken(path: str, translate: Translate, body: Schema) -> BaseRoute:
    return ApiRoute(path, speaking(translate), replace(SPEECH, body=body), method="POST")


def _routes(prefix: str, tts: Translate) -> list[BaseRoute]:
    unwell = {"application/json": OBJECT}
    return [
        ApiRoute(f"{prefix}/health", health, Operation(answers={200: unwell, 503: unwell})),
        _spoken(f"{prefix}/tts_url", by_path, _BY_PATH),
        _spoken(f"{prefix}/tts", tts, _BY_NAME),
        ApiRoute(f"{prefix}/audio/voices", voices, Operation()),
        _spoken(f"{prefix}/audio/speech", openai, BODY),
    ]


ROUTES: list[BaseRoute] = [
    *_routes(PREFIX, by_name),
    _spoken(f"{PREFIX}/tts_stream", by_name_raw, _BY_NAME),
    *_routes("", plain_tts),
]
"""This door's."""
