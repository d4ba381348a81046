"""Uploaded voices on disk: one folder each, there as a whole or not at all.

A voice is written into a hidden folder, flushed to the disk and renamed, which is atomic; it is
removed the other way round. Whatever a crash leaves is hidden, and swept up later. Processes may
share the folder.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import soundfile

from speakers.catalog import (
    MAX_RECORDINGS,
    Speaker,
    check_description,
    check_language,
    check_name,
)
from streaming.errors import BadConfig, Overloaded, SpeechError
from streaming.speech import Recording

MAX_CONSENT_CHARS = 2_000
_ABOUT = "voice.json"
_STALE_S = 3_600.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """What somebody says of a voice: ``consent`` is the speaker's agreement, in words.

    ``owner`` is the key that uploaded it.
    """

    name: str
    consent: str
    owner: str
    description: str = ""
    language: str | None = None

    def __post_init__(self) -> None:
        """Raises ``BadConfig``."""
        check_name(self.name, "name")
        if not self.name.strip("."):
            raise BadConfig("a name is more than dots", param="name")
        check_description(self.description, "description")
        check_language(self.language, "language")
        if not 1 <= len(self.consent.strip()) <= MAX_CONSENT_CHARS:
            raise BadConfig(
                f"the speaker's consent is due, in 1 to {MAX_CONSENT_CHARS} characters",
                param="consent",
            )


def to_wav(recording: Recording) -> bytes:
    """A checked recording as the file that is kept: its sound and nothing else of what was sent."""
    file = io.BytesIO()
    soundfile.write(file, recording.samples, recording.sample_rate_hz, "PCM_16", format="WAV")
    return file.getvalue()


class UploadFolder:
    """At most ``max_voices`` voices of together at most ``max_bytes``; all methods block."""

    def __init__(self, folder: Path, *, max_voices: int, max_bytes: int) -> None:
        self._folder = folder
        self._max_voices = max_voices
        self._max_bytes = max_bytes

    @property
    def stamp(self) -> tuple[int, frozenset[str]]:
        """Changes when a voice comes or goes, two within one tick of the disk's clock included."""
        with suppress(OSError):
            return self._folder.stat().st_mtime_ns, frozenset(os.listdir(self._folder))
        return 0, frozenset()

    def load(self) -> tuple[Speaker, ...]:
        """Every voice in the folder, the oldest first; what is no voice is logged and left alone.

        The recordings were checked when they came, and are again when they are used.
        """
        if not self._folder.is_dir():
            return ()
        self._sweep()
        found = []
        for place in self._folder.iterdir():
            if not place.name.startswith("."):
                try:
                    found.append(_read(place))
                except (OSError, ValueError, TypeError, KeyError, SpeechError) as error:
                    logger.warning("%s holds no voice: %s", place.name, error)
        return tuple(speaker for _, speaker in sorted(found, key=lambda pair: pair[0]))

    def add(self, sheet: Sheet, recordings: Sequence[bytes]) -> Speaker:
        """Keep the files of ``to_wav`` as a voice.

        Raises ``BadConfig`` when there is one of that name, ``Overloaded`` when there is no room.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        held = [path for path in self._folder.glob("[!.]*/*") if path.suffix == ".wav"]
        size = sum(path.stat().st_size for path in held) + sum(map(len, recordings))
        if size > self._max_bytes or len({path.parent for path in held}) >= self._max_voices:
            raise Overloaded("there is no room for another voice")
        place = self._place(sheet.name)
        with _hidden(self._folder, ".new-") as folder:
            for number, data in enumerate(recordings):
                _write(folder / f"{number}.wav", data)
            about = {
                "name": sheet.name,
                "description": sheet.description,
                "language": sheet.language,
                "consent": sheet.consent,
                "owner": sheet.owner,
                "created": datetime.now(UTC).isoformat(),
                "sha256": [hashlib.sha256(data).hexdigest() for data in recordings],
            }
            _write(folder / _ABOUT, json.dumps(about, ensure_ascii=False, indent=1).encode())
            _flush(folder)
            try:
                folder.rename(place)
            except OSError:
                if place.exists():
                    raise taken() from None
                raise
        _flush(self._folder)
        return _read(place)[1]

    def remove(self, name: str) -> None:
        """Take a voice away; nothing happens when there is none of that name."""
        with _hidden(self._folder, ".old-") as folder:
            with suppress(FileNotFoundError):
                self._place(name).rename(folder)
            _flush(self._folder)

    def _place(self, name: str) -> Path:
        """A hash, because file systems disagree on what a name is."""
        return self._folder / hashlib.sha256(name.encode()).hexdigest()[:32]

    def _sweep(self) -> None:
        """Remove what crashes left, once nobody can be writing it any more."""
        for place in (*self._folder.glob(".new-*"), *self._folder.glob(".old-*")):
            with suppress(OSError):
                if time.time() - place.stat().st_mtime > _STALE_S:
                    shutil.rmtree(place)


def taken() -> BadConfig:
    """The refusal of a name that somebody has."""
    return BadConfig("there is already a voice of that name", param="name")


@contextmanager
def _hidden(folder: Path, prefix: str) -> Iterator[Path]:
    """A folder inside ``folder`` that nobody sees; what is left in it goes."""
    place = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _read(place: Path) -> tuple[str, Speaker]:
    """When a voice came, and the voice; raises what a foreign file makes it raise."""
    about: dict[str, Any] = json.loads((place / _ABOUT).read_bytes())
    sheet = Sheet(**{key: about[key] for key in Sheet.__dataclass_fields__})
    sha256s = tuple(map(str, about["sha256"]))
    files = tuple(place / f"{number}.wav" for number in range(len(sha256s)))
    if not 1 <= len(files) <= MAX_RECORDINGS or not all(file.is_file() for file in files):
        raise ValueError("recordings are missing")
    speaker = Speaker(
        name=sheet.name,
        files=files,
        sha256s=sha256s,
        description=sheet.description,
        language=sheet.language,
        owner=sheet.owner,
    )
    return str(about["created"]), speaker


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush(folder: Path) -> None:
    if os.name == "nt":  # where folders are not flushed
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
