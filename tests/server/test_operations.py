"""What operators see: figures, log lines, spans, and an engine that hangs."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from server import logs
from streaming.errors import SynthesisFailed
from tests.fakes import ToneScript
from tests.server.rooms import Room, eventually, in_process, make_room

SPEECH = "/v1/audio/speech"
SECRET_TEXT = "My password is swordfish. Nobody else may ever read it in a log."


async def figures(client: httpx.AsyncClient) -> dict[str, float]:
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def post(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await client.post(SPEECH, json={"response_format": "pcm", **body})


async def test_metrics_count_what_happened(tmp_path: Path) -> None:
    script = ToneScript(late_failures={1: SynthesisFailed("it broke")})
    async with in_process(make_room(tmp_path, script)) as client:
        before = await figures(client)
        assert before["indextts_ready"] == 1.0
        assert (await post(client, input="Hello there.")).status_code == 200
        assert (await post(client, input="Hello.", voice="nobody")).status_code == 404
        assert (await post(client, input="")).status_code == 400
        await post(client, input="Hello there, this is a sentence. " * 8, stream_format="sse")
        after = await figures(client)
    assert after['indextts_requests_total{outcome="done"}'] == 1.0
    assert after['indextts_requests_total{outcome="error"}'] == 2.0
    assert after['indextts_errors_total{code="unknown_voice"}'] == 1.0
    assert after['indextts_errors_total{code="empty_input"}'] == 1.0
    assert after['indextts_errors_total{code="synthesis_failed"}'] == 1.0
    assert after['indextts_connections_total{status="404"}'] == 1.0
    assert after["indextts_first_audio_seconds_count"] == 2.0
    assert after["indextts_rtf_count"] == 1.0
    assert after["indextts_characters_total"] == len("Hello there.")
    assert after['indextts_stage_seconds_total{stage="codes"}'] == 0.0
    assert after["indextts_audio_seconds_total"] > 0.5
    assert after["process_cpu_seconds_total"] > 0.0


async def test_gauges_show_who_speaks_and_who_waits(tmp_path: Path) -> None:
    script = ToneScript(delay_s={"codes": 0.3})
    room = make_room(tmp_path, script, active_requests=1, queued_requests=2)
    async with in_process(room) as client:
        posts = [asyncio.create_task(post(client, input="Hello.")) for _ in range(3)]

        async def full() -> bool:
            now = await figures(client)
            return (now["indextts_active_streams"], now["indextts_queue_depth"]) == (1.0, 2.0)

        await eventually(full)
        assert (await figures(client))["indextts_predicted_wait_seconds"] > 0.0
        await asyncio.gather(*posts)
        now = await figures(client)
        assert (now["indextts_active_streams"], now["indextts_queue_depth"]) == (0.0, 0.0)
        assert now["indextts_predicted_wait_seconds"] == 0.0
        assert now["indextts_queue_seconds_sum"] >= 0.8


async def test_a_late_slice_is_an_underrun_and_a_cancel_is_counted(tmp_path: Path) -> None:
    script = ToneScript(delay_s={"slice": 0.5}, slice_ms=100.0)
    room = make_room(tmp_path, script)
    async with in_process(room) as client:
        await post(client, input="Hello.")
        task = asyncio.create_task(post(client, input="Hello there. " * 20))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

        async def counted() -> bool:
            return (await figures(client)).get(
                'indextts_requests_total{outcome="cancelled"}'
            ) == 1.0

        await eventually(counted)
        assert (await figures(client))["indextts_underruns_total"] == 3.0, "0.4 s in 0.1 s slices"


async def test_metrics_can_be_off(tmp_path: Path) -> None:
    async with in_process(make_room(tmp_path, metrics=False)) as client:
        assert (await client.get("/metrics")).status_code == 404


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What is written as JSON; the root logger is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure(style="json", level="debug", stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


async def test_the_log_knows_requests_and_no_text(tmp_path: Path, log: io.StringIO) -> None:
    failures = {"password": ValueError(f"cannot read {SECRET_TEXT}")}
    room = make_room(tmp_path, ToneScript(prepare_failures=failures))
    async with in_process(room) as client:
        headers = {"x-request-id": "abc"}
        await client.post(SPEECH, json={"input": "Hello, swordfish."}, headers=headers)
        await client.post(SPEECH, json={"input": SECRET_TEXT}, headers=headers)
        await client.post(f"{SPEECH}?swordfish=1", content='{"input": swordfish', headers=headers)
    assert "swordfish" not in log.getvalue()
    told = [line for line in lines(log) if line.get("request_id") == "abc"]
    outcomes = [line["outcome"] for line in told if line["message"] == "speech"]
    assert outcomes == ["done", "error"]
    connections = [line for line in told if line["message"] == "connection"]
    assert [line["status"] for line in connections] == [200, 500, 400]
    (failed,) = (line for line in told if "failure" in line and line["level"] == "error")
    assert "ValueError" in failed["failure"] and "fakes.py" in failed["failure"]


async def test_a_path_forges_no_line_of_the_log(tmp_path: Path, log: io.StringIO) -> None:
    async with in_process(make_room(tmp_path)) as client:
        await client.get("/x%0A2026-01-01 INFO forged%1B[31m?secret")
    told = next(line for line in lines(log) if line.get("path", "").startswith("/x"))
    assert told["path"] == "/x%0A2026-01-01%20INFO%20forged%1B[31m"


async def test_a_failure_has_an_id_and_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = make_room(tmp_path, origins=("https://app.example",))

    def broken(*_: object) -> None:
        raise RuntimeError("a secret")

    async with in_process(room) as client:
        monkeypatch.setattr(room.service, "check", broken)
        headers = {"x-request-id": "mine", "origin": "https://app.example"}
        answer = await client.post(SPEECH, json={"input": "Hello."}, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
        assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"] == "mine"
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert "secret" not in answer.text
        now = await figures(client)
    assert now['indextts_connections_total{status="500"}'] == 1.0
    assert now['indextts_errors_total{code="internal"}'] == 1.0


def test_texts_are_logged_when_asked_for(log: io.StringIO) -> None:
    stream = io.StringIO()
    logs.configure(style="text", show_text=True, stream=stream)
    try:
        raise ValueError("swordfish")
    except ValueError:
        logging.getLogger("x").exception("it failed")
    assert re.search(r"ERROR x: it failed\nTraceback[^\0]*ValueError: swordfish", stream.getvalue())
    logs.configure(style="text", stream=stream)
    logging.getLogger("x").info("spoke", extra=logs.fields(ms=3))
    assert stream.getvalue().endswith("INFO x: spoke ms=3\n")


def test_the_chain_of_a_failure_is_kept(log: io.StringIO) -> None:
    text = "swordfish"
    try:
        try:
            raise KeyError(text)
        except KeyError as error:
            raise ExceptionGroup(text, [ValueError(text)]) from error
    except ExceptionGroup:
        logging.getLogger("x").exception("it failed")
    failure = lines(log)[-1]["failure"]
    assert "swordfish" not in failure
    for part in ("KeyError", "which led to:", "ExceptionGroup", "ValueError", "in test_the_chain"):
        assert part in failure


@pytest.fixture(scope="module")
def spans() -> InMemorySpanExporter:
    """Everything that is traced; the provider can be set only once in a process."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


async def test_spans_continue_the_callers_trace(
    tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    parent = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
    async with in_process(make_room(tmp_path)) as client:
        spans.clear()
        headers = {"traceparent": parent, "x-request-id": "abc"}
        await client.post(SPEECH, json={"input": "Hello there."}, headers=headers)
    (span,) = spans.get_finished_spans()
    assert span.context is not None and span.parent is not None and span.attributes is not None
    assert f"{span.context.trace_id:032x}" == parent.split("-")[1]
    assert f"{span.parent.span_id:016x}" == parent.split("-")[2]
    assert span.attributes["indextts.request_id"] == "abc"
    assert span.attributes["indextts.outcome"] == "done"
    assert [event.name for event in span.events] == ["admitted", "first_audio", "chunk"]


async def test_a_hung_engine_fails_everybody_and_comes_back(tmp_path: Path) -> None:
    stuck = asyncio.Event()
    room = make_room(tmp_path, engine_stall_s=0.3)
    usual = room.model._work

    async def hang(stage: str, take: Any) -> None:
        await (stuck.wait() if stage == "codes" else usual(stage, take))

    async with in_process(room) as client:
        room.model._work = hang  # type: ignore[method-assign]
        posts = [asyncio.create_task(post(client, input="Hello.")) for _ in range(3)]
        for answer in await asyncio.gather(*posts):
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (503, "engine_failed")
            assert int(answer.headers["retry-after"]) == 10
        assert (await client.get("/readyz")).json() == {"status": "engine_failed"}
        assert (await client.get("/healthz")).status_code == 200
        answer = await asyncio.wait_for(post(client, input="Hello."), 0.25)
        assert answer.json()["error"]["code"] == "engine_failed", "at once, while it hangs"
        assert room.model.live == 0, "nothing is left in the model"
        stuck.set()

        async def ready() -> bool:
            return (await client.get("/readyz")).status_code == 200

        await eventually(ready, 10.0)
        assert (await post(client, input="Hello.")).status_code == 200


async def test_a_slow_listener_or_a_slow_writer_is_no_hung_engine(tmp_path: Path) -> None:
    room: Room = make_room(tmp_path, ToneScript(delay_s={"slice": 0.05}), engine_stall_s=0.2)
    async with in_process(room) as client:
        text = "Hello there, this is the first sentence. " * 2
        answers = await asyncio.gather(*(post(client, input=text) for _ in range(4)))
        assert {answer.status_code for answer in answers} == {200}
        assert room.service.state == "ready"
