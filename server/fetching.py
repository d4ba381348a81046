"""Recordings by URL, fetched so that a caller cannot make us talk to whom he likes.

Only hosts on the operator's list are asked. A name is resolved once, every address it has must be
public, and exactly such an address is connected to, so that a name that changes its mind
(DNS rebinding) gains nothing; redirects go through the same door. Nothing is decompressed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urljoin, urlsplit

import httpcore

from streaming.errors import BadConfig, BadRecording, ReferenceRefused

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

T = TypeVar("T")

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[Address]]]
"""Every address of a host name; raises ``OSError``."""

MAX_REDIRECTS = 3
_PORTS: Mapping[str, int] = {"http": 80, "https": 443}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

_URL = re.compile(r"[!-~]+")
_HOST = re.compile(
    r"(?=.{1,253}\Z)"
    r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*"
    r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
)
"""Names only: the last label of anything that a resolver reads as an address begins with a digit
(127.1, 0x7f.1, 2130706433)."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_FAILURES = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A URL in its checked parts; ``target`` is its path and query."""

    scheme: str
    host: str
    port: int
    target: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}{self.target}"


def parse_url(text: str) -> Place:
    """The parts of a plain http or https URL; raises ``ReferenceRefused`` for anything else."""
    if not _URL.fullmatch(text) or any(mark in text for mark in "\\@<>\"'`{}|^"):
        raise ReferenceRefused("a URL of plain characters without user names is due")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ReferenceRefused("this is not a URL") from None
    host = (parts.hostname or "").lower()
    if parts.scheme not in _PORTS or not _HOST.fullmatch(host):
        raise ReferenceRefused("only http and https URLs with a host's name are fetched")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    port = _PORTS[parts.scheme] if port is None else port
    return Place(scheme=parts.scheme, host=host, port=port, target=target)


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet, tunnels to other addresses excluded."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        tunnelled = address.sixtofour or address.teredo or address in _NAT64
        if tunnelled or address.is_site_local:
            return False
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_private
    )


async def in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """What ``work`` gives, on threads that may all hang without holding up speech."""
    return await asyncio.get_running_loop().run_in_executor(_threads(), work, *arguments)


async def resolve(host: str, port: int) -> Sequence[Address]:
    """What the system's resolver says."""
    found = await in_thread(socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Resolves a name once and connects ``network`` to its addresses, if all of them are public.

    Host header and TLS server name stay those of the URL.
    """

    def __init__(self, *, resolve: Resolve, network: httpcore.AsyncNetworkBackend) -> None:
        self._resolve = resolve
        self._network = network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raises ``ReferenceRefused`` for a forbidden address, ``httpcore.ConnectError``."""
        addresses = await self._resolve(host, port)
        if not all(map(is_public, addresses)):
            raise ReferenceRefused("the host of the URL is not on the public internet")
        failure = httpcore.ConnectError("no address")
        for address in addresses:
            try:
                return await self._network.connect_tcp(str(address), port, timeout=timeout)
            except httpcore.ConnectError as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Refused."""
        raise ReferenceRefused("only public hosts are asked")

    async def sleep(self, seconds: float) -> None:
        """Between retries, of which there are none."""
        await self._network.sleep(seconds)


class Fetcher:
    """Fetches from ``hosts``: names, ``*.name`` for all below it, ``name:port`` off the usual port.

    ``resolve`` and ``network`` are the ways out; tests watch them. Raises ``BadConfig``.
    """

    def __init__(
        self,
        hosts: Iterable[str],
        *,
        max_bytes: int,
        resolve: Resolve = resolve,
        network: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        for host in self._hosts:
            name, _, port = host.removeprefix("*.").partition(":")
            if not _HOST.fullmatch(name) or not (port.isdecimal() or host.endswith(name)):
                raise BadConfig(f"{host!r} is not the name of a host", param="reference_hosts")
        self._max_bytes = max_bytes
        self._network = GuardedNetwork(resolve=resolve, network=network or httpcore.AnyIOBackend())

    def check(self, text: str) -> Place:
        """The parts of a URL that may be fetched; raises ``ReferenceRefused``."""
        place = parse_url(text)
        port = "" if place.port == _PORTS[place.scheme] else f":{place.port}"
        labels = place.host.split(".")
        above = (".".join(labels[depth:]) for depth in range(1, len(labels)))
        names = (place.host, *(f"*.{name}" for name in above))
        if self._hosts.isdisjoint(f"{name}{port}" for name in names):
            raise ReferenceRefused("the host of the URL is not on this server's list")
        return place

    async def fetch(self, text: str) -> bytes:
        """The body behind a URL; the caller bounds the time.

        Raises ``ReferenceRefused`` for a place that may not be asked, ``BadRecording`` when it
        gives nothing that could be a recording.
        """
        place = self.check(text)
        try:
            for _ in range(MAX_REDIRECTS + 1):
                found = await self._ask(place)
                if isinstance(found, bytes):
                    return found
                if place.scheme == "https" and found.scheme != "https":
                    raise ReferenceRefused("the URL leads from https to http")
                place = found
        except _FAILURES as error:
            raise BadRecording("the recording could not be fetched") from error
        raise ReferenceRefused(f"the URL leads on more than {MAX_REDIRECTS} times")

    def _follow(self, place: Place, location: str) -> Place:
        try:
            return self.check(urljoin(str(place), location))
        except ValueError:
            raise ReferenceRefused("the URL leads to what is no URL") from None

    async def _ask(self, place: Place) -> bytes | Place:
        """The body, or where it is to be had."""
        usual = place.port == _PORTS[place.scheme]
        headers = [
            ("Host", place.host if usual else f"{place.host}:{place.port}"),
            ("Accept-Encoding", "identity"),
            ("User-Agent", "indextts-stream"),
        ]
        async with (
            httpcore.AsyncConnectionPool(
                network_backend=self._network,
                ssl_context=_tls() if place.scheme == "https" else None,
                max_keepalive_connections=0,
            ) as pool,
            pool.stream("GET", str(place), headers=headers) as response,
        ):
            answered = {name.lower(): value for name, value in response.headers}
            if response.status in _REDIRECTS:
                return self._follow(place, answered.get(b"location", b"").decode("latin-1"))
            if response.status != 200:
                raise BadRecording("the recording could not be fetched")
            if answered.get(b"content-encoding", b"identity").lower() != b"identity":
                raise BadRecording("the recording came compressed, which was not asked for")
            body = bytearray()
            async for piece in response.aiter_stream():
                body += piece
                if len(body) > self._max_bytes:
                    raise BadRecording(
                        f"the recording is bigger than {self._max_bytes // 1_000_000} MB"
                    )
            return bytes(body)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(8, "references")


@cache
def _tls() -> ssl.SSLContext:
    return httpcore.default_ssl_context()
