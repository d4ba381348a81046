"""Which hosts are asked: addresses, names, and what an operator may list."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from server.fetching import Fetcher, is_public, parse_url, resolve
from server.folders import Folders
from streaming.errors import BadConfig, ReferenceRefused


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("1.1.1.1", True),
        ("2606:4700::1111", True),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("127.0.0.1", False),
        ("127.255.255.254", False),
        ("169.254.169.254", False),
        ("172.16.0.1", False),
        ("172.31.255.255", False),
        ("192.0.0.1", False),
        ("192.0.2.1", False),
        ("192.168.0.1", False),
        ("198.18.0.1", False),
        ("198.51.100.1", False),
        ("203.0.113.1", False),
        ("224.0.0.1", False),
        ("239.255.255.250", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::127.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:1.1.1.1", True),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b:1::1", False),
        ("100::1", False),
        ("2001::1", False),
        ("2001:db8::1", False),
        ("2002:7f00:1::1", False),
        ("fc00::1", False),
        ("fd12:3456::1", False),
        ("fe80::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


def test_a_url_is_taken_apart_and_put_together_again() -> None:
    place = parse_url("HTTPS://CDN.Example/a/b.wav?x=1&y=%20#part")
    assert (place.scheme, place.host, place.port) == ("https", "cdn.example", 443)
    assert str(place) == "https://cdn.example:443/a/b.wav?x=1&y=%20"
    assert parse_url("http://a-1.example:8080").target == "/"


@pytest.mark.parametrize(
    "host", ["", "*", "*.", "127.0.0.1", "10", "[::1]", "a:b", "a:", "http://a", "a/b", "a b", "é"]
)
def test_only_names_of_hosts_can_be_listed(host: str) -> None:
    with pytest.raises(BadConfig) as caught:
        Fetcher([host], max_bytes=1)
    assert caught.value.param == "reference_hosts"


@pytest.mark.parametrize(
    ("listed", "url", "allowed"),
    [
        ("CDN.example", "http://cdn.example/a", True),
        ("cdn.example", "http://a.cdn.example/a", False),
        ("*.cdn.example", "http://a.cdn.example/a", True),
        ("*.cdn.example", "http://a.b.cdn.example/a", True),
        ("*.cdn.example", "http://cdn.example/a", False),
        ("*.cdn.example", "http://xcdn.example/a", False),
        ("cdn.example:81", "http://cdn.example:81/a", True),
        ("cdn.example:81", "http://cdn.example/a", False),
        ("cdn.example:81", "https://cdn.example/a", False),
        ("cdn.example", "https://cdn.example:443/a", True),
        ("cdn.example", "http://cdn.example:443/a", False),
    ],
)
def test_who_is_on_the_list(listed: str, url: str, allowed: bool) -> None:
    fetcher = Fetcher([listed], max_bytes=1)
    if allowed:
        assert str(fetcher.check(url)).startswith("http")
    else:
        with pytest.raises(ReferenceRefused):
            fetcher.check(url)


async def test_the_systems_resolver_is_asked() -> None:
    found = await resolve("localhost", 80)
    assert found and not any(map(is_public, found))


def test_a_folder_that_is_none_cannot_be_configured(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(BadConfig) as caught:
            Folders([path])
        assert caught.value.param == "reference_dirs"


def test_a_linked_folder_is_known_by_both_its_names(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.wav").write_bytes(b"here")
    (tmp_path / "link").symlink_to("real")
    folders = Folders([tmp_path / "link"])
    for name in ("real", "link"):
        assert folders.read(str(tmp_path / name / "a.wav"), 10) == b"here"
    assert folders.read("a.wav", 2) == b"her"


def test_folders_are_looked_through_in_order(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "both.wav").write_bytes(name.encode())
    (tmp_path / "two" / "two.wav").write_bytes(b"only here")
    folders = Folders([tmp_path / "one", tmp_path / "two"])
    assert folders.read("both.wav", 99) == b"one"
    assert folders.read("two.wav", 99) == b"only here"


def test_a_folder_within_a_folder_is_no_recording(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.wav").write_bytes(b"here")
    folders = Folders([tmp_path / "sub", tmp_path])
    assert folders.read(str(tmp_path / "sub" / "a.wav"), 9) == b"here"
    for root in (tmp_path, tmp_path / "sub"):
        with pytest.raises(ReferenceRefused):
            folders.read(str(root), 9)
