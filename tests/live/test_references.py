"""Recordings by URL or path over real HTTP: nothing hostile gets out, in, or an untyped answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from server import folders
from server.fetching import Fetcher
from server.references import References
from speakers.recording import DEFAULT_LIMITS
from streaming import wire
from tests.fakes import ToneScript
from tests.live.hostile import (
    ANSWERS,
    ENDLESS,
    NAMES,
    PUBLIC,
    Network,
    Origin,
    Resolver,
    WatchedOs,
    bad_files,
    build,
)
from tests.live.peers import talk
from tests.server.rooms import Room, make_room, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTS = ("good.example", "*.cdn.example", "alt.example:8443")
FAIR = {"/good.wav", "/ok", "/other-host", "/hop2", "/hop3", "/hop4"}
CODES = {"reference_refused", "bad_recording", "bad_config"}

PATHS = [
    "../secret.wav",
    "../../../../../../../../etc/passwd",
    "sub/../../secret.wav",
    "ROOT/../secret.wav",
    "ROOT/sub/../../secret.wav",
    "ROOT-other/secret.wav",
    "ROOT/../refs-other/secret.wav",
    "/etc/passwd",
    "/etc/shadow",
    "//etc/passwd",
    "/proc/self/environ",
    "/proc/self/root/etc/passwd",
    "/proc/self/fd/0",
    "/proc/self/mem",
    "/dev/zero",
    "/dev/stdin",
    "/dev/tty",
    "ROOT",
    "ROOT/",
    "ROOT/.",
    "ROOT/sub",
    "ROOT/link.wav",
    "ROOT/inner.wav",
    "ROOT/zero.wav",
    "ROOT/memory.wav",
    "ROOT/dirlink/secret.wav",
    "ROOT/loop",
    "ROOT/loop/a.wav",
    "ROOT/fifo.wav",
    "ROOT/socket.wav",
    "ROOT/sparse.wav",
    "ROOT/good.wav/x",
    "ROOT/none.wav",
    "ROOT/good.wav\0.png",
    "ROOT/good.wav\n",
    "ROOT/\u202ewav.doog",
    "/" + "a" * 300 + "/b.wav",
    "ROOT/" + "a." * 150,
    "/" + "a/" * 1_500,
    "~/secret.wav",
    "~root/.ssh/id_rsa",
    "$HOME/secret.wav",
    "%2e%2e/secret.wav",
    "ROOT/%2e%2e/secret.wav",
    "．．/secret.wav",
    "..\\secret.wav",
    "ROOT\\..\\..\\secret.wav",
    "C:\\Windows\\win.ini",
    "\\\\evil.example\\share\\a.wav",
    "|/bin/sh",
    "`id`/a.wav",
    "./..",
    "/",
    "./.",
]

URLS = [
    "file:///etc/passwd",
    "FILE://localhost/etc/passwd",
    "file:/etc/passwd",
    "ftp://good.example/good.wav",
    "gopher://good.example/1",
    "dict://good.example:11211/stat",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/info",
    "jar:http://good.example/good.wav!/",
    "data:audio/wav;base64,UklGRg==",
    "javascript:alert(1)",
    "http:good.example/good.wav",
    "http:///good.wav",
    "http://",
    "://good.example/good.wav",
    "http://127.0.0.1/",
    "http://127.1/",
    "http://0x7f.1/",
    "http://0x7f000001/",
    "http://2130706433/",
    "http://0177.0.0.1/",
    "http://017700000001/",
    "http://0/",
    "http://0.0.0.0/",
    "http://10.0.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::1]/",
    "http://[::]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[fe80::1%25eth0]/",
    "http://[v1.good.example]/",
    "http://localhost/",
    "http://localhost.localdomain/",
    "http://metadata.google.internal/",
    "http://evil.example/good.wav",
    "http://evilgood.example/good.wav",
    "http://good.example.evil.example/good.wav",
    "http://cdn.example/good.wav",
    "http://good.example./good.wav",
    "http://good.example@evil.example/good.wav",
    "http://evil.example@good.example/good.wav",
    "http://user:pass@good.example/good.wav",
    "http://good.example:80@127.0.0.1/",
    "http://evil.example\\@good.example/good.wav",
    "http://good.example\\.evil.example/good.wav",
    "http://good.example%00.evil.example/good.wav",
    "http://good.example%2f@evil.example/",
    "http://good.example:22/",
    "http://good.example:0/",
    "http://good.example:99999/",
    "http://good.example:-80/",
    "http://good.example:80:80/",
    "http://good.example:8443/good.wav",
    "http://alt.example/good.wav",
    "http://ｇｏｏｄ.example/good.wav",
    "http://①②⑦.⓪.⓪.①/",
    "http://good。example/good.wav",
    "http://good.example/a b.wav",
    "http://good.example/\r\nX-Evil: 1",
    "http://good.example/\tgood.wav",
    " http://good.example/good.wav",
    "http://good.example /good.wav",
    "http://good.example/" + "a" * 3_000,
    "https://good.example/good.wav",
    "http://unknown.cdn.example/good.wav",
    "http://slow.cdn.example/good.wav",
    "http://hole.cdn.example/good.wav",
    "http://good.example/%0d%0aX-Evil:%201",
    *(
        f"http://{name}/good.wav"
        for name in NAMES
        if name.split(".")[0] not in ("good", "ok", "alt", "hole")
    ),
    *(f"http://good.example{path}" for path in ANSWERS if path not in FAIR),
    *(f"http://good.example{path}" for path in ENDLESS),
]

HOSTILE = [*PATHS, *(f"ROOT/{name}" for name in bad_files()), *URLS]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A server that may read one folder and ask some hosts, and who watches it."""

    room: Room
    client: httpx.AsyncClient
    root: Path
    network: Network
    resolver: Resolver
    origin: Origin
    os: WatchedOs

    async def say(self, reference: str) -> httpx.Response:
        """Ask for speech with an emotion from somewhere."""
        body = {"input": "Hi.", "response_format": "pcm", "emotion": {"reference": reference}}
        return await self.client.post("/v1/audio/speech", json=body)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("world")
    root = build(folder)
    network, resolver, origin, watched = Network(), Resolver(), Origin(), WatchedOs()
    server = await asyncio.start_server(origin, "127.0.0.1", 0)
    network.origin_port = server.sockets[0].getsockname()[1]
    (folder / "speakers").mkdir()
    room = make_room(folder / "speakers", ToneScript(characters_per_second=60.0))
    casting = room.service.casting
    casting.references = References(
        decode=casting.sandbox.decode,
        folders=[root],
        fetcher=Fetcher(
            HOSTS, max_bytes=DEFAULT_LIMITS.max_bytes, resolve=resolver, network=network
        ),
    )
    casting.sandbox.start()
    patch = pytest.MonkeyPatch()
    patch.setattr(folders, "os", watched)
    async with serving(room), httpx.AsyncClient(base_url=room.url, timeout=10.0) as client:
        yield World(
            room=room,
            client=client,
            root=root,
            network=network,
            resolver=resolver,
            origin=origin,
            os=watched,
        )
    patch.undo()
    server.close()


@pytest.fixture(autouse=True)
def forget(world: World) -> Iterator[None]:
    """Every case has its own record."""
    for record in (
        world.network.connected,
        world.resolver.asked,
        world.origin.heard,
        world.os.opened,
        world.room.model.takes,
    ):
        record.clear()
    yield


@pytest.mark.parametrize("reference", HOSTILE, ids=lambda text: ascii(text)[1:60])
async def test_what_is_hostile_is_refused(world: World, reference: str) -> None:
    began_s = time.monotonic()
    answer = await world.say(reference.replace("ROOT", str(world.root)))
    assert time.monotonic() - began_s <= 2.0
    assert 400 <= answer.status_code < 500
    error = answer.json()["error"]
    assert error["code"] in CODES and error["param"] == "emotion.reference"
    assert str(world.root) not in answer.text and "root:x" not in answer.text
    # No forbidden connection: none but to the public address, on a port that is listed.
    assert {place for place in world.network.connected if place[0].startswith(PUBLIC[:-2])} == set(
        world.network.connected
    )
    assert {port for _, port in world.network.connected} <= {80, 443}
    assert not [heard for heard in world.origin.heard if b"X-Evil: 1" in heard]
    # No file outside the root.
    assert all(path.is_relative_to(world.root) for path in world.os.opened)
    assert not world.room.model.takes


async def test_there_are_enough_of_them() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) >= 60


@pytest.mark.parametrize(
    ("reference", "connections"),
    [
        ("ROOT/good.wav", []),
        ("./good.wav", []),
        ("sub/good.wav", []),
        ("http://good.example/good.wav", [80]),
        ("HTTP://GOOD.example:80/good.wav?a=b#c", [80]),
        ("http://ok.cdn.example/good.wav", [80]),
        ("http://alt.example:8443/good.wav", [8443]),
        ("http://good.example/ok", [80, 80]),
        ("http://good.example/other-host", [80, 80]),
        ("http://good.example/hop2", [80] * 4),
        ("http://rebind.cdn.example/good.wav", [80]),
    ],
)
async def test_what_is_allowed_is_heard(
    world: World, reference: str, connections: list[int]
) -> None:
    answer = await world.say(reference.replace("ROOT", str(world.root)))
    if "?a=b" in reference:
        assert answer.status_code == 400 and b"/good.wav?a=b HTTP" in world.origin.heard[0]
        return
    assert answer.status_code == 200
    assert world.network.connected == [(PUBLIC, port) for port in connections]
    assert len(world.resolver.asked) == len(connections)
    [take] = world.room.model.takes
    assert take.emotion_voice is not None


@pytest.mark.parametrize(
    "reference",
    [
        "../secret.wav",
        "/etc/passwd",
        "ROOT/link.wav",
        "ROOT/fifo.wav",
        "ROOT/none.wav",
        "ROOT/bomb.flac",
        "http://127.1/",
        "http://metadata.cdn.example/good.wav",
        "http://good.example/to-metadata",
        "http://good.example/drip",
        "file:///etc/passwd",
    ],
)
async def test_other_doors_have_the_same_lock(world: World, reference: str) -> None:
    reference = reference.replace("ROOT", str(world.root))
    body = {"text": "Hi.", "audio_paths": [reference]}
    answer = await world.client.post("/tts_url", json=body)
    assert 400 <= answer.status_code < 500
    assert answer.json()["error"]["code"] in CODES
    async with talk(world.room) as socket:
        emotion = {"reference": reference}
        await socket.send("input.text", text="Hi.", emotion=emotion)
        await socket.send("input.done")
        failure = await socket.until(wire.Failure)
        assert failure.code in CODES and failure.param == "emotion.reference"
    assert {host for host, _ in world.network.connected} <= {PUBLIC}
    assert all(path.is_relative_to(world.root) for path in world.os.opened)
    assert not world.room.model.takes


async def test_a_name_that_changes_its_mind_is_refused_the_second_time(world: World) -> None:
    assert (await world.say("http://rebind.cdn.example/good.wav")).status_code == 200
    again = await world.say("http://rebind.cdn.example/good.wav")
    assert again.json()["error"]["code"] == "reference_refused"
    assert world.network.connected == [(PUBLIC, 80)]


async def test_the_host_is_named_and_nothing_else_is_told(world: World) -> None:
    await world.say("http://alt.example:8443/good.wav")
    head = world.origin.heard[0].decode().lower()
    assert "host: alt.example:8443\r\n" in head and "get /good.wav http/1.1" in head
    assert "cookie" not in head and "authorization" not in head and "referer" not in head


async def test_tls_asks_for_the_host_of_the_url(world: World) -> None:
    """The name in a ClientHello is plain text; the origin does not speak TLS."""
    answer = await world.say("https://good.example/good.wav")
    assert answer.json()["error"]["code"] == "bad_recording"
    assert world.network.connected == [(PUBLIC, 443)]
    assert b"good.example" in world.origin.heard[0]


async def test_many_slow_ones_leave_the_others_alone(world: World) -> None:
    """Eight wait at once, the rest in line, and all have their answer in time."""
    slow = [asyncio.create_task(world.say("http://good.example/drip")) for _ in range(8)]
    began_s = time.monotonic()
    assert (await world.client.get("/healthz")).status_code == 200
    plain: dict[str, Any] = {"input": "Hi.", "response_format": "pcm"}
    assert (await world.client.get("/v1/voices")).json()["voices"]
    assert time.monotonic() - began_s < 1.0
    for answer in await asyncio.gather(*slow):
        assert answer.json()["error"]["code"] == "bad_recording"
    assert (await world.client.post("/v1/audio/speech", json=plain)).status_code == 200


async def test_nothing_is_allowed_unless_configured(tmp_path: Path) -> None:
    room = make_room(tmp_path, ToneScript())
    body = {"input": "Hi.", "emotion": {"reference": ""}}
    async with serving(room), httpx.AsyncClient(base_url=room.url) as client:
        for reference in (
            "http://good.example/good.wav",
            "https://good.example/good.wav",
            str(tmp_path / "anna.wav"),
            "sub/anna.wav",
        ):
            body["emotion"] = {"reference": reference}
            answer = await client.post("/v1/audio/speech", json=body)
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (403, "reference_refused")
            assert error["param"] == "emotion.reference"
