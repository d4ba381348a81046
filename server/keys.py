"""API keys: made once, kept as salted hashes in a file, found in constant time.

A key reads ``itk_<id>_<secret>``. The id is public; the secret has 256 random bits, which is why a
plain HMAC-SHA256 with a salt of its own is enough to keep it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_LOOK_EVERY_S = 1.0
_FILE_BYTES = 4 * 2**20
_FORM = re.compile(r"itk_([0-9a-f]{8})_([\w-]{43})", re.ASCII)


class BadKeys(ValueError):
    """A file of keys that cannot be used; the message is for an operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What one key may use; ``None`` is no limit of its own."""

    concurrent: int | None = None
    requests_per_minute: int | None = None
    characters_per_minute: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key as the file keeps it: everything but the secret."""

    id: str
    name: str
    salt: str
    hash: str
    created_s: int
    priority: int = 0
    allowance: Allowance = Allowance()


def make_key(
    name: str, *, priority: int = 0, allowance: Allowance | None = None
) -> tuple[Key, str]:
    """A new key, and the text that is shown once."""
    salt, secret = secrets.token_bytes(16), secrets.token_urlsafe(32)
    key = Key(
        id=secrets.token_hex(4),
        name=name,
        salt=salt.hex(),
        hash=_hash(salt, secret),
        created_s=int(time.time()),
        priority=priority,
        allowance=allowance or Allowance(),
    )
    return key, f"itk_{key.id}_{secret}"


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of a file; raises ``BadKeys``."""
    try:
        with path.open("rb") as stream:
            raw = json.loads(stream.read(_FILE_BYTES))
        return tuple(_key(entry) for entry in raw["keys"])
    except OSError as error:
        raise BadKeys(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise BadKeys(f"{path} is not a file of keys") from error


def _key(entry: Mapping[str, Any]) -> Key:
    key = Key(**{**entry, "allowance": Allowance(**entry.get("allowance", {}))})
    bytes.fromhex(key.salt)
    bytes.fromhex(key.hash)
    return key


def write_keys(path: Path, keys: Iterable[Key]) -> None:
    """Replace the file at once; only its owner may read it. Raises ``OSError``."""
    text = json.dumps({"keys": [asdict(key) for key in keys]}, indent=1)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(text + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


class KeyRing:
    """The keys of a file, read again when it changes; a file that went bad changes nothing.

    Raises ``BadKeys`` when made from a bad file.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._looked_s = clock()
        self._stamp = self._look()
        self._keys = {key.id: key for key in read_keys(path)}
        self._nobody, _ = make_key("nobody")

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, text: str) -> Key | None:
        """The key that a caller shows; takes the same time whether the id exists or not."""
        self._refresh()
        form = _FORM.fullmatch(text)
        if form is None:
            return None
        key = self._keys.get(form[1], self._nobody)
        fits = hmac.compare_digest(_hash(bytes.fromhex(key.salt), form[2]), key.hash)
        return key if fits else None

    def by_id(self, key_id: str) -> Key | None:
        """The key of that id, while it is not removed."""
        self._refresh()
        return self._keys.get(key_id)

    def _refresh(self) -> None:
        now_s = self._clock()
        if now_s - self._looked_s < _LOOK_EVERY_S:
            return
        self._looked_s = now_s
        with contextlib.suppress(BadKeys):
            if (stamp := self._look()) != self._stamp:
                self._keys = {key.id: key for key in read_keys(self._path)}
                self._stamp = stamp

    def _look(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError as error:
            raise BadKeys(f"cannot read {self._path}: {error.strerror}") from error
        return found.st_ino, found.st_mtime_ns, found.st_size


def _hash(salt: bytes, secret: str) -> str:
    return hmac.new(salt, secret.encode(), hashlib.sha256).hexdigest()
