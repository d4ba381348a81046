"""A world for references: a folder with traps, a resolver that lies, an origin that misbehaves."""

from __future__ import annotations

import asyncio
import io
import ipaddress
import os
import socket
import struct
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import httpcore
import numpy as np

from server.fetching import Address
from tests.speakers.sounds import encode, noise

PUBLIC = "93.184.215.14"
"""Where the origin seems to be."""

BLACK_HOLE = "93.184.215.99"
"""A public address that never answers."""

GOOD = noise(2.0, seed=3)
SECRET = noise(2.0, seed=4)

NAMES: dict[str, list[str]] = {
    "good.example": [PUBLIC],
    "ok.cdn.example": [PUBLIC],
    "alt.example": [PUBLIC],
    "hole.cdn.example": [BLACK_HOLE],
    "private.cdn.example": ["10.0.0.1"],
    "home.cdn.example": ["192.168.1.1"],
    "loop.cdn.example": ["127.0.0.1"],
    "zero.cdn.example": ["0.0.0.0"],
    "metadata.cdn.example": ["169.254.169.254"],
    "shared.cdn.example": ["100.64.0.1"],
    "bench.cdn.example": ["198.18.0.1"],
    "multicast.cdn.example": ["224.0.0.1"],
    "broadcast.cdn.example": ["255.255.255.255"],
    "v6loop.cdn.example": ["::1"],
    "v6any.cdn.example": ["::"],
    "v6link.cdn.example": ["fe80::1"],
    "v6local.cdn.example": ["fd00::1"],
    "mapped.cdn.example": ["::ffff:169.254.169.254"],
    "nat64.cdn.example": ["64:ff9b::a9fe:a9fe"],
    "sixtofour.cdn.example": ["2002:7f00:1::"],
    "teredo.cdn.example": ["2001:0:4136:e378:8000:63bf:3fff:fdd2"],
    "compatible.cdn.example": ["::127.0.0.1"],
    "mixed.cdn.example": [PUBLIC, "127.0.0.1"],
    "nowhere.cdn.example": [],
}


class Resolver:
    """Answers from ``NAMES``; ``rebind.cdn.example`` is public once and local ever after."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        self.asked.append(host)
        if host == "slow.cdn.example":
            await asyncio.sleep(60)
        if host == "rebind.cdn.example":
            found = [PUBLIC] if self.asked.count(host) == 1 else ["127.0.0.1"]
        elif host in NAMES:
            found = NAMES[host]
        else:
            raise socket.gaierror("no such host")
        return [ipaddress.ip_address(address) for address in found]


class Network(httpcore.AsyncNetworkBackend):
    """Writes down every connection; those to the public address reach the origin."""

    def __init__(self) -> None:
        self.connected: list[tuple[str, int]] = []
        self.origin_port = 0
        self._real = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.connected.append((host, port))
        if host == BLACK_HOLE:
            await asyncio.sleep(60)
        return await self._real.connect_tcp("127.0.0.1", self.origin_port)


class WatchedOs:
    """The module ``os``, with a record of where every opened file really is."""

    def __init__(self) -> None:
        self.opened: list[Path] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Any, flags: int, *, dir_fd: int | None = None) -> int:
        handle = os.open(path, flags, dir_fd=dir_fd)
        self.opened.append(Path(os.readlink(f"/proc/self/fd/{handle}")))
        return handle


def build(folder: Path) -> Path:
    """The configured folder, its traps, and what lies around it."""
    root = folder / "refs"
    for place in (root / "sub", folder / "refs-other", folder / "outside"):
        place.mkdir(parents=True)
    for place in (root, root / "sub"):
        (place / "good.wav").write_bytes(GOOD)
    for place in (folder, folder / "refs-other", folder / "outside"):
        (place / "secret.wav").write_bytes(SECRET)
    (root / "link.wav").symlink_to(folder / "outside" / "secret.wav")
    (root / "inner.wav").symlink_to(root / "good.wav")
    (root / "zero.wav").symlink_to("/dev/zero")
    (root / "memory.wav").symlink_to("/proc/self/mem")
    (root / "dirlink").symlink_to(folder / "outside")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "fifo.wav")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(root, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{here}/socket.wav")
        os.close(here)
    with (root / "sparse.wav").open("wb") as file:
        file.write(GOOD[:44])
        file.truncate(1 << 33)
    for name, data in bad_files().items():
        (root / name).write_bytes(data)
    return root


def bad_files() -> dict[str, bytes]:
    """Files that are no recordings, or more than one should be."""
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.wav", bytes(20_000_000))
    silence = np.zeros((16_000 * 600, 1), np.float32)
    nan = np.full((16_000, 1), np.nan, np.float32)
    endless = b"RIFF\xff\xff\xff\xffWAVE" + GOOD[12:40] + b"\xff\xff\xff\xff"
    return {
        "empty.wav": b"",
        "text.wav": b"root:x:0:0:root:/root:/bin/sh\n" * 20,
        "page.wav": b"<html><script>alert(1)</script></html>",
        "archive.wav": zipped.getvalue(),
        "polyglot.wav": zipped.getvalue() + GOOD,
        "gif.wav": b"GIF89a" + GOOD,
        "elf.wav": b"\x7fELF" + GOOD[4:],
        "pickle.wav": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
        "bomb.flac": encode(silence, container="FLAC"),
        "endless.wav": endless + bytes(2_000_000),
        "cut.wav": GOOD[:30],
        "short.wav": noise(0.3),
        "long.wav": noise(31.0),
        "nan.wav": encode(nan, subtype="FLOAT"),
        "crowd.wav": noise(1.0, channels=9),
        "slow.wav": noise(1.0, rate_hz=4_000),
        "fast.wav": GOOD[:24] + struct.pack("<I", 0xFFFFFFFF) + GOOD[28:],
        "sound.au": noise(1.0, container="AU"),
        "sound.aiff": noise(1.0, container="AIFF"),
        "garbage.ogg": noise(1.0, container="OGG")[:200] + os.urandom(5_000),
        "garbage.mp3": b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + os.urandom(5_000),
    }


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """A plain HTTP answer."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def moved(place: str, status: str = "302 Found") -> bytes:
    """An answer that sends the caller elsewhere."""
    return answer(b"", f"Location: {place}", status=status)


ANSWERS: dict[str, bytes] = {
    "/good.wav": answer(GOOD),
    "/ok": moved("/good.wav"),
    "/other-host": moved("http://ok.cdn.example/good.wav", "307 Temporary Redirect"),
    "/to-metadata": moved("http://169.254.169.254/latest/meta-data/"),
    "/to-loopback": moved("http://127.1/"),
    "/to-private-name": moved("http://private.cdn.example/a.wav", "308 Permanent Redirect"),
    "/to-mapped": moved("http://[::ffff:127.0.0.1]/a.wav"),
    "/to-file": moved("file:///etc/passwd"),
    "/to-gopher": moved("gopher://good.example/1"),
    "/to-stranger": moved("http://evil.example/a.wav"),
    "/to-schemeless": moved("//evil.example/a.wav"),
    "/to-port": moved("http://good.example:22/"),
    "/to-user": moved("http://good.example@evil.example/"),
    "/to-rebind": moved("http://rebind.cdn.example/to-rebind"),
    "/to-nothing": moved(""),
    "/to-garbage": moved("http://[/\\ \x7f"),
    "/no-location": answer(b"", status="302 Found"),
    "/loop": moved("/loop"),
    "/hop1": moved("/hop2"),
    "/hop2": moved("/hop3"),
    "/hop3": moved("/hop4"),
    "/hop4": moved("/good.wav"),
    "/missing": answer(b"no", status="404 Not Found"),
    "/broken": answer(b"no", status="500 Internal Server Error"),
    "/part": answer(GOOD, status="206 Partial Content"),
    "/nothing": answer(b"", status="204 No Content"),
    "/page": answer(b"<html>no</html>" * 99, "Content-Type: audio/wav"),
    "/gzip": answer(b"\x1f\x8b" + bytes(100), "Content-Encoding: gzip"),
    "/bomb": answer(bad_files()["bomb.flac"]),
    "/archive": answer(bad_files()["archive.wav"]),
    "/huge-header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000,
    "/many-headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 60_000,
    "/huge-promise": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n" + GOOD,
    "/cut": answer(GOOD)[:-100],
    "/bad-chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "/two-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n" + GOOD,
    "/not-http": b"220 ftp.example ready\r\n" * 9,
    "/upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "/silent-close": b"",
}

ENDLESS: dict[str, tuple[bytes, bytes, float]] = {
    "/drip": (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"R", 0.05),
    "/drip-header": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", 0.05),
    "/hold": (b"", b"", 0.1),
    "/early": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.01),
    "/flood": (b"HTTP/1.1 200 OK\r\n\r\n", bytes(1 << 20), 0.0),
}
"""How it begins, what comes again and again, and the seconds between."""


class Origin:
    """Answers on loopback; keeps the first bytes of what it was sent."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await reader.read(8_192)
            self.heard.append(first)
            path = first.split(b" ")[1].decode() if first.count(b" ") > 1 else ""
            if path in ENDLESS:
                begin, more, pause_s = ENDLESS[path]
                writer.write(begin)
                while True:
                    writer.write(more)
                    await writer.drain()
                    await asyncio.sleep(pause_s)
            writer.write(ANSWERS.get(path, answer(b"", status="404 Not Found")))
            await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            writer.close()
