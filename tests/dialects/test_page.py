"""What the page about existing clients says is what the code is; the SDKs' snippets run."""

from __future__ import annotations

import asyncio
import re

import pytest

from server.dialects.deepgram_http import ENCODINGS
from server.dialects.elevenlabs_fields import DEFAULT_OUTPUT, OUTPUTS
from server.dialects.elevenlabs_key import KEY_FIELDS
from server.dialects.elevenlabs_socket import CONTEXTS, INACTIVITY_S, MOST_INACTIVITY_S
from server.dialects.translated import OWN_FIELDS
from tests.dialects.conftest import TONE_HZ
from tests.dialects.snippets import snippet
from tests.docs.pages import code, prose, read, rows
from tests.server.rooms import Room
from tests.server.sounds import decode, pitch_hz

PAGE = "docs/clients.md"


@pytest.mark.filterwarnings("ignore:websockets:DeprecationWarning")
@pytest.mark.parametrize(
    ("mark", "rate_hz"), [("import ElevenLabs\n", 44_100), ("deepgram.environment", 22_050)]
)
async def test_the_snippets_of_the_sdks_speak(room: Room, mark: str, rate_hz: int) -> None:
    def speak() -> bytes:
        names = snippet(mark, room)
        with names["client"]._client_wrapper.httpx_client.httpx_client:  # the SDKs do not close it
            return b"".join(names["audio"])

    samples, heard_hz = decode(await asyncio.to_thread(speak), "mp3", 0)
    assert heard_hz == rate_hz
    assert abs(pitch_hz(samples, heard_hz) / TONE_HZ - 1) < 0.001


def test_the_table_of_deepgrams_encodings() -> None:
    table = {code(row[0])[0]: row[1:] for row in rows(PAGE, "Deepgram")}
    assert table.keys() == ENCODINGS.keys()
    for name, (rates, containers, bit_rates) in table.items():
        encoding = ENCODINGS[name]
        first, *others = map(int, code(rates))
        assert (first, {first, *others}) == (encoding.rates_hz[0], set(encoding.rates_hz))
        assert tuple(code(containers)) == encoding.containers
        ends = [int(one) for one in code(bit_rates)]
        assert ends == [encoding.bit_rates[0], encoding.bit_rates[-1]] if ends else True
        assert bool(ends) == bool(encoding.bit_rates)


def test_the_words_of_elevenlabs() -> None:
    text = prose(read(PAGE))
    for words in (
        f"up to {CONTEXTS} contexts",
        f"{INACTIVITY_S}, at most {MOST_INACTIVITY_S}",
        f"`{DEFAULT_OUTPUT}` when nothing is said",
    ):
        assert words in text
    fields = {name for row in rows(PAGE, "ElevenLabs") for name in code(row[0])}
    assert fields >= {*OWN_FIELDS, *KEY_FIELDS} - {"xi-api-key"}
    kinds = {re.sub(r"(\d+)_\d+$", r"\1", name) for name in OUTPUTS}
    named = {re.sub(r"(\d+)_\d+$", r"\1", name) for name in code(text)}
    assert kinds - named == {"pcm_16000", "pcm_22050", "pcm_24000", "pcm_32000", "pcm_44100"}
