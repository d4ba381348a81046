"""Where a server's doors are, from the one address a user gives, and the key to them."""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit

DEFAULT_URL = "http://127.0.0.1:6008"
STREAM_PATH = "/v1/audio/speech/stream"

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


def http_url(url: str, path: str = "") -> str:
    """``url`` (http, https, ws or wss, a prefix is kept) as HTTP address; raises ``ValueError``."""
    parts = _split(url)
    prefix = parts.path.removesuffix(STREAM_PATH).rstrip("/")
    return f"{_SCHEMES[parts.scheme]}://{parts.netloc}{prefix}{path}"


def websocket_url(url: str) -> str:
    """Where the native WebSocket is; raises ``ValueError`` for what is no such address."""
    return "ws" + http_url(url, STREAM_PATH).removeprefix("http")


def is_loopback(url: str) -> bool:
    """Whether the server is on this machine, where no proxy of the environment leads."""
    host = _split(url).hostname
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def bearer(key: str | None) -> dict[str, str]:
    """The header that shows an API key."""
    return {} if key is None else {"Authorization": f"Bearer {key}"}


def _split(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise ValueError(f"{url!r} is not an address such as {DEFAULT_URL}")
    if parts.port is not None and parts.port == 0:
        raise ValueError(f"{url!r} has no usable port")
    return parts
