"""Pauses and glossaries reach the model from every door that carries a text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.server.rooms import in_process, make_room


async def spoken(folder: Path, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    """Bytes of the answer, and what the model was asked for."""
    room = make_room(folder)
    async with in_process(room) as client:
        room.model.takes.clear()
        answer = await client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return len(answer.content), room.model


@pytest.mark.parametrize(
    ("path", "text", "fields"),
    [
        ("/v1/audio/speech", "input", {"response_format": "pcm"}),
        ("/v1/text-to-speech/anna?output_format=pcm_24000", "text", {}),
        ("/v1/speak?encoding=linear16&sample_rate=24000&container=none", "text", {}),
    ],
    ids=["openai", "elevenlabs", "deepgram"],
)
async def test_pauses_and_glossaries(
    tmp_path: Path, path: str, text: str, fields: dict[str, Any]
) -> None:
    plain, _ = await spoken(tmp_path, path, {text: "One.[pause:0ms]Two.", **fields})
    body = {text: 'One.<break time="1s"/>Two.', **fields}
    if "speak" not in path.split("/")[-1].split("?")[0]:
        body["glossary"] = {"One": "Wun"}
    paused, model = await spoken(tmp_path, path, body)
    # A silence of 0 ms leaves the usual gap of 120 ms.
    assert (paused - plain) / 2 == pytest.approx(24_000 * 0.88, abs=50)
    assert [one for kind, one, _ in model.log if kind == "begin"][-2:] == ["One.", "Two."]
    if "glossary" in body:
        assert model.takes[-1].request.glossary == {"One": "Wun"}
