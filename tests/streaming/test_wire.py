"""The codec: round trips, refusals, hostile input."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming import wire
from streaming.errors import (
    BadConfig,
    BadMessage,
    BadRecording,
    InputError,
    ReferenceRefused,
    UnsupportedFormat,
)
from streaming.fields import (
    MAX_REFERENCE_BYTES,
    EmotionConfig,
    SpeechConfig,
    is_place,
    parse_fields,
)

RECORDING = bytes(range(256))

CLIENT_MESSAGES: list[wire.ClientMessage] = [
    wire.SessionConfig(
        changes={
            "voice": "anna",
            "format": "pcm",
            "sample_rate": 24_000,
            "speed": 1.0,
            "language": "zh-CN",
            "emotion": EmotionConfig(vector=(0.1,) * 8, weight=0.5, random=True),
            "sampling.temperature": 0.8,
            "sampling.top_k": 30,
            "sampling.seed": 2**63 - 1,
            "chunking.gap_ms": 0,
            "encoding": "base64",
            "framing": "tagged",
            "max_lead_s": 2.5,
            "glossary": {"TTS": "speech"},
            "timestamps": "char",
            "subtitles": "vtt",
        }
    ),
    wire.SessionConfig(resume=True),
    wire.SessionConfig(resume_token="t", next_sample={"a": 7}, changes={"voice": "bob"}),
    wire.InputText(text="héllo \U0001f600", context_id="a b", changes={"voice": "bob"}),
    wire.InputText(text="", changes={"emotion": EmotionConfig(reference=RECORDING)}),
    wire.InputText(text="x", changes={"emotion": EmotionConfig(text="wütend")}),
    wire.InputFlush(),
    wire.InputDone(context_id="c"),
    wire.InputCancel(played_samples=12),
    wire.InputCancel(),
    wire.Ping(),
    wire.SessionClose(),
]

SERVER_MESSAGES: list[wire.ServerMessage] = [
    wire.SessionCreated(session_id="s", model="tone", version="1", limits={"contexts": 8}),
    wire.AudioStart(
        context_id="default",
        utterance_index=1,
        sentence_index=2,
        sentence_text="Hi.",
        normalized_text="HI.",
        format="pcm",
        sample_rate=22_050,
        channels=1,
        first_sample=2**40,
    ),
    wire.AudioDelta(
        context_id="default", utterance_index=1, sequence=3, first_sample=4, audio="AAA="
    ),
    wire.AudioDone(
        context_id="default",
        sentence_index=2,
        samples=10,
        total_bytes=20,
        duration_ms=0.5,
        quality={"retries": 0},
        timestamps={"start_ms": 0.0, "end_ms": 0.5, "estimated": False},
    ),
    wire.Cancelled(context_id="default", sent_samples=5, heard_text_end=3),
    wire.SessionResumed(context_id="default", next_sample=5),
    wire.SessionResumed(context_id="d", next_sample=5, state="complete", characters_in=9),
    wire.SessionDone(
        context_id="default",
        total_sentences=1,
        total_samples=10,
        characters_in=3,
        characters_spoken=3,
        timings={"first_audio_ms": 1.5},
        quality={"coverage": 1.0},
        subtitles="WEBVTT\n",
    ),
    wire.Warn(code="empty_input", message="nothing", context_id="default"),
    wire.Failure(code="internal", message="oops", request_id="r", retry_after_s=1.5),
    wire.Pong(),
]


@pytest.mark.parametrize("message", CLIENT_MESSAGES, ids=lambda m: m.type)
def test_client_messages_round_trip(message: wire.ClientMessage) -> None:
    assert wire.decode_client(wire.encode(message)) == message


@pytest.mark.parametrize("message", SERVER_MESSAGES, ids=lambda m: m.type)
def test_server_messages_round_trip(message: wire.ServerMessage) -> None:
    assert wire.decode_server(wire.encode(message)) == message


def test_every_server_message_refuses_missing_and_mistyped_fields() -> None:
    for message in SERVER_MESSAGES:
        raw = json.loads(wire.encode(message))
        required = {
            spec.name
            for spec in dataclasses.fields(message)
            if spec.default is spec.default_factory is dataclasses.MISSING
        }
        for name in required:
            with pytest.raises(BadMessage):
                wire.decode_server(json.dumps({k: v for k, v in raw.items() if k != name}))
            with pytest.raises(BadMessage):
                wire.decode_server(json.dumps({**raw, name: [True]}))
            with pytest.raises(BadMessage):
                wire.decode_server(json.dumps({**raw, name: True}))


def test_unknown_fields_are_ignored_and_null_means_absent() -> None:
    text = '{"type": "input.done", "context_id": null, "shoe_size": 43, "voice": 7}'
    assert wire.decode_client(text) == wire.InputDone()
    assert wire.decode_client('{"type":"session.config","voice":null,"task_type":"x"}') == (
        wire.SessionConfig()
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "[]",
        "7",
        "null",
        '{"type": "input.text"',
        '{"text": "no type"}',
        '{"type": 7}',
        '{"type": ["input.text"]}',
        '{"type": "input.shout", "text": "x"}',
        '{"type": "input.text"}',
        '{"type": "input.text", "text": 7}',
        '{"type": "input.text", "text": ["x"]}',
        '{"type": "input.text", "text": "x", "context_id": 7}',
        '{"type": "input.text", "text": "x", "context_id": ""}',
        '{"type": "input.text", "text": "x", "context_id": "a\\nb"}',
        '{"type": "input.text", "text": "x", "context_id": "\\ud800"}',
        json.dumps({"type": "input.text", "text": "x", "context_id": "x" * 129}),
        '{"type": "input.cancel", "played_samples": -1}',
        '{"type": "input.cancel", "played_samples": 1.5}',
        '{"type": "input.cancel", "played_samples": true}',
        '{"type": "input.cancel", "played_samples": ' + "9" * 100 + "}",
        '{"type": "input.cancel", "played_samples": ' + "9" * 10_000 + "}",
        '{"type": "session.config", "speed": NaN}',
        '{"type": "session.config", "speed": -Infinity}',
        '{"type": "ping", "x": [' + "[]," * 30_000 + "[]]}",
        '{"type": "ping", "x": [' + "{}," * 30_000 + "{}]}",
        '{"type": "ping", "x": [' + "1," * 50_000 + "1]}",
        "[" * 100_000,
        '{"type":"ping","x":' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
    ids=lambda text: text[:40],
)
def test_what_is_no_message_is_bad_message(text: str) -> None:
    with pytest.raises(BadMessage):
        wire.decode_client(text)


@pytest.mark.parametrize(
    ("fields", "error", "param"),
    [
        ({"speed": 1000}, BadConfig, "speed"),
        ({"speed": "fast"}, BadConfig, "speed"),
        ({"speed": True}, BadConfig, "speed"),
        ({"speed": 10**400}, BadConfig, "speed"),
        ({"voice": ""}, BadConfig, "voice"),
        ({"voice": 7}, BadConfig, "voice"),
        ({"voice": "\ud800"}, BadConfig, "voice"),
        ({"voice": {"name": "x"}}, BadConfig, "voice"),
        ({"language": "12"}, BadConfig, "language"),
        ({"format": "midi"}, UnsupportedFormat, "format"),
        ({"format": 7}, UnsupportedFormat, "format"),
        ({"sample_rate": 12_345}, UnsupportedFormat, "sample_rate"),
        ({"sample_rate": "24000"}, UnsupportedFormat, "sample_rate"),
        ({"emotion": "happy"}, BadConfig, "emotion"),
        ({"emotion": {"vector": [1, 0]}}, BadConfig, "emotion.vector"),
        ({"emotion": {"vector": [2] + [0] * 7}}, BadConfig, "emotion.vector"),
        ({"emotion": {"vector": [None] * 8}}, BadConfig, "emotion.vector"),
        ({"emotion": {"text": "a", "vector": [0] * 8}}, BadConfig, "emotion"),
        ({"emotion": {"text": ""}}, BadConfig, "emotion.text"),
        ({"emotion": {"text": "x" * 501}}, BadConfig, "emotion.text"),
        ({"emotion": {"text": "\udc00"}}, BadConfig, "emotion.text"),
        ({"emotion": {"weight": 1.5}}, BadConfig, "emotion.weight"),
        ({"emotion": {"random": 1}}, BadConfig, "emotion.random"),
        ({"emotion": {"reference": 7}}, BadConfig, "emotion.reference"),
        ({"emotion": {"reference": "/a\n.wav"}}, ReferenceRefused, "emotion.reference"),
        ({"emotion": {"reference": "/" + "a." * 2_000}}, ReferenceRefused, "emotion.reference"),
        (
            {"emotion": {"reference": "A" * (MAX_REFERENCE_BYTES * 4 // 3 + 8)}},
            BadRecording,
            "emotion.reference",
        ),
        ({"sampling": [1]}, BadConfig, "sampling"),
        ({"sampling": {"temperature": -1}}, BadConfig, "sampling.temperature"),
        ({"sampling": {"top_p": 0}}, BadConfig, "sampling.top_p"),
        ({"sampling": {"top_k": 1.5}}, BadConfig, "sampling.top_k"),
        ({"sampling": {"repetition_penalty": 0.5}}, BadConfig, "sampling.repetition_penalty"),
        ({"sampling": {"seed": 2**63}}, BadConfig, "sampling.seed"),
        ({"chunking": {"max_tokens": 0}}, BadConfig, "chunking.max_tokens"),
        ({"chunking": {"gap_ms": 10**9}}, BadConfig, "chunking.gap_ms"),
        ({"encoding": "morse"}, BadConfig, "encoding"),
        ({"framing": "none"}, BadConfig, "framing"),
        ({"max_lead_s": 0}, BadConfig, "max_lead_s"),
        ({"timestamps": "always"}, BadConfig, "timestamps"),
        ({"timestamps": 1}, BadConfig, "timestamps"),
        ({"subtitles": "ass"}, BadConfig, "subtitles"),
        ({"glossary": ["a"]}, BadConfig, "glossary"),
        ({"glossary": {"a": 1}}, BadConfig, "glossary"),
        ({"glossary": {"": "x"}}, BadConfig, "glossary"),
        ({"glossary": {"a": "x" * 65}}, BadConfig, "glossary"),
        ({"glossary": {"a" * 65: "x"}}, BadConfig, "glossary"),
        ({"glossary": {"a\x00": "x"}}, BadConfig, "glossary"),
        ({"glossary": {str(n): "x" for n in range(101)}}, BadConfig, "glossary"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_fields_out_of_range_name_themselves(
    fields: dict[str, Any], error: type[InputError], param: str
) -> None:
    with pytest.raises(error) as caught:
        wire.decode_client(json.dumps({"type": "session.config", **fields}))
    assert caught.value.param == param
    with pytest.raises(error):
        wire.decode_client(json.dumps({"type": "input.text", "text": "x", **fields}))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"resume": 1}, "resume"),
        ({"resume_token": 7}, "resume_token"),
        ({"resume_token": ""}, "resume_token"),
        ({"resume_token": "t" * 129}, "resume_token"),
        ({"next_sample": []}, "next_sample"),
        ({"next_sample": {"c": -1}}, "next_sample"),
        ({"next_sample": {"c": True}}, "next_sample"),
        ({"next_sample": {"c": "0"}}, "next_sample"),
        ({"next_sample": {str(at): 0 for at in range(257)}}, "next_sample"),
    ],
)
def test_what_resumes_is_checked(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadConfig) as caught:
        wire.decode_client(json.dumps({"type": "session.config", **fields}))
    assert caught.value.param == param


def test_long_integers_are_not_counted_exactly() -> None:
    exact, rough = "9" * 100, "1" + "0" * 100
    value = wire.parse_json(f'{{"x": [{exact}, {rough}, -{rough}, {"9" * 5_000}]}}')["x"]
    assert value == [int(exact), 1e100, -1e100, math.inf]
    assert [type(one) for one in value] == [int, float, float, float]


def test_a_text_of_commas_is_a_message() -> None:
    message = wire.InputText(text="[," * 10_000)
    assert wire.decode_client(wire.encode(message)) == message


def test_names_other_servers_use_are_understood() -> None:
    changes = parse_fields({"response_format": "wav", "voice": {"id": "anna"}, "timestamps": True})
    assert changes == {"format": "wav", "voice": "anna", "timestamps": "word"}
    assert parse_fields({"timestamps": False}) == {"timestamps": "off"}


def test_a_reference_is_a_name_or_a_recording() -> None:
    encoded = base64.b64encode(RECORDING).decode()
    for value in (encoded, f"data:audio/wav;base64,{encoded}"):
        (emotion,) = parse_fields({"emotion": {"reference": value}}).values()
        assert emotion.reference == RECORDING
    (emotion,) = parse_fields({"emotion": {"reference": "老王 2"}}).values()
    assert emotion.reference == "老王 2" and not is_place("老王 2")


@pytest.mark.parametrize(
    "place",
    ["/etc/passwd", "/etc/passwords/x", "../a.wav", "http://x/a.wav", "file:" + "a" * 90, "C:a"],
)
def test_a_path_or_url_is_told_from_a_name(place: str) -> None:
    (emotion,) = parse_fields({"emotion": {"reference": place}}).values()
    assert emotion.reference == place and is_place(place)


def test_config_is_sticky_field_by_field_and_emotions_replace_each_other() -> None:
    config = SpeechConfig()
    for raw in (
        {"voice": "anna", "sampling": {"top_k": 5}, "emotion": {"text": "sad", "weight": 0.3}},
        {"sampling": {"seed": 9}, "emotion": {"vector": [0] * 7 + [1]}},
    ):
        config = config.updated(parse_fields(raw))
    request = config.request(request_id="r", voice="bob", seed=1)
    assert (request.voice, request.seed) == ("anna", 9)
    assert (request.sampling.top_k, request.sampling.seed) == (5, 9)
    assert request.emotion.text is None
    assert request.emotion.weight == 1.0
    assert request.emotion.vector == (0.0,) * 7 + (1.0,)


def test_request_without_wishes_takes_the_given_voice_and_seed() -> None:
    request = SpeechConfig().request(request_id="r", voice="bob", seed=5)
    assert (request.voice, request.seed, request.sample_rate_hz) == ("bob", 5, None)


def test_tagged_header_is_network_order_and_round_trips() -> None:
    data = wire.tag(1, 2, 3, b"pcm")
    assert data == bytes.fromhex("00000001 00000002 0000000000000003") + b"pcm"
    assert wire.untag(data) == (1, 2, 3, b"pcm")
    with pytest.raises(BadMessage):
        wire.untag(data[:15])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
KNOWN_NAMES = st.sampled_from(
    [
        "type",
        "text",
        "context_id",
        "played_samples",
        "voice",
        "format",
        "sample_rate",
        "speed",
        "language",
        "emotion",
        "sampling",
        "chunking",
        "timestamps",
        "subtitles",
        "glossary",
        "encoding",
        "framing",
        "max_lead_s",
        "resume_token",
        "next_sample",
    ]
)
KNOWN_TYPES = st.sampled_from([message.type for message in CLIENT_MESSAGES])


@settings(max_examples=300, deadline=None)
@given(KNOWN_TYPES, st.dictionaries(KNOWN_NAMES, JSON))
def test_hostile_objects_decode_or_refuse(kind: str, raw: dict[str, Any]) -> None:
    text = json.dumps({**raw, "type": kind})
    try:
        message = wire.decode_client(text)
    except InputError:
        return
    assert wire.decode_client(wire.encode(message)) == message


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec="utf-8")) | JSON.map(json.dumps))
def test_hostile_text_decodes_or_refuses(text: str) -> None:
    for decode in (wire.decode_client, wire.decode_server):
        try:
            decode(text)
        except InputError:
            continue
