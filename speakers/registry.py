"""Who can speak at present: the speakers of speaker.json and the uploaded ones, followed as the
files change.

A request keeps the speaker it found; only later ones see a change.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TypeAlias

import numpy as np

from speakers.catalog import Catalog, Speaker, load_speakers, make_catalog
from speakers.recording import LoadedRecording, load_recording
from speakers.uploads import Sheet, UploadFolder, taken
from streaming.errors import BadConfig, BadRecording, Forbidden, UnknownVoice

Stamp: TypeAlias = tuple[int, int, int]

EVERYBODY = "anonymous"
"""Owner of the voices that came without a key."""

logger = logging.getLogger(__name__)


class Registry:
    """``catalog`` is the present state, an immutable value; it is replaced, never changed.

    Reads everything when it is made (blocking); raises ``BadConfig`` as ``load_speakers`` does.
    A name of speaker.json hides an uploaded voice of that name.
    """

    def __init__(self, path: Path, *, uploads: UploadFolder | None = None) -> None:
        self._path = path
        self._uploads = uploads
        self._lock = Lock()
        self._checked: dict[Path, _Checked] = {}
        self._known: dict[Path, _Checked] = {}
        self._stamps = self._look()
        self._speakers = self._read()
        self._uploaded = uploads.load() if uploads else ()
        self._publish()

    def refresh(self) -> bool:
        """Read again whatever has changed and tell whether something had; blocking.

        A speaker.json that cannot be used is logged, and what was known before stays.
        """
        with self._lock:
            stamps = self._look()
            same = all(_stamp(path) == checked.stamp for path, checked in self._checked.items())
            if same and stamps == self._stamps:
                return False
            self._stamps = stamps
            try:
                self._speakers = self._read()
            except BadConfig as error:
                logger.error("the speakers stay as they were: %s", error.message)
            if self._uploads is not None:
                self._uploaded = self._uploads.load()
            self._publish()
            return True

    async def watch(self, every_s: float) -> None:
        """Refresh every so often, for ever."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await asyncio.to_thread(self.refresh)
            except OSError:
                logger.exception("cannot look for changes of the speakers")

    def add(self, sheet: Sheet, recordings: Sequence[bytes]) -> Speaker:
        """Keep an uploaded voice; it is in the catalog from now on. Blocking.

        Raises ``BadConfig`` and ``Overloaded``.
        """
        with self._lock:
            self.check_free(sheet.name)
            assert self._uploads is not None
            speaker = self._uploads.add(sheet, recordings)
            self._uploaded = (*self._uploaded, speaker)
            self._publish()
            return speaker

    def check_free(self, name: str) -> None:
        """Raise ``BadConfig`` where no voice of that name can be added.

        A name or alias that means somebody is taken, OpenAI's names included.
        """
        if self._uploads is None:
            raise BadConfig("this server takes no voices")
        if name in self.catalog.table:
            raise taken()

    def remove(self, name: str, *, owner: str) -> Speaker:
        """Take an uploaded voice away; blocking.

        Raises ``UnknownVoice``, ``BadConfig`` for one of speaker.json, ``Forbidden`` for one of
        another owner. A voice that came without a key is everybody's.
        """
        with self._lock:
            speaker = next((s for s in self.catalog.speakers if s.name == name), None)
            if speaker is None:
                raise UnknownVoice("there is no voice of that name", param="voice")
            if speaker.owner is None or self._uploads is None:
                raise BadConfig("only uploaded voices can be deleted", param="voice")
            if speaker.owner not in (owner, EVERYBODY):
                raise Forbidden("this voice was uploaded with another key", param="voice")
            self._uploads.remove(name)
            self._uploaded = tuple(s for s in self._uploaded if s.name != name)
            self._publish()
            return speaker

    def _publish(self) -> None:
        names = {speaker.name for speaker in self._speakers}
        shown = tuple(speaker for speaker in self._uploaded if speaker.name not in names)
        self.catalog: Catalog = make_catalog((*self._speakers, *shown))

    def _look(self) -> tuple[object, ...]:
        """The states of speaker.json and of the folder of uploads."""
        return _stamp(self._path), self._uploads.stamp if self._uploads else None

    def _read(self) -> tuple[Speaker, ...]:
        self._known, self._checked = self._checked, {}
        return load_speakers(self._path, load=self._load)

    def _load(self, path: Path) -> LoadedRecording:
        """As ``load_recording``, once per state of a file; the samples themselves are not kept."""
        stamp = _stamp(path)
        checked = self._known.get(path)
        if checked is None or checked.stamp != stamp:
            checked = _check(path, stamp)
        self._checked[path] = checked
        if isinstance(checked.found, str):
            raise BadRecording(checked.found)
        return checked.found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checked:
    stamp: Stamp
    found: LoadedRecording | str
    """The recording without its samples, or what is wrong with it."""


def _check(path: Path, stamp: Stamp) -> _Checked:
    try:
        loaded = load_recording(path)
    except BadRecording as error:
        return _Checked(stamp=stamp, found=error.message)
    bare = replace(loaded.recording, samples=np.empty(0, np.float32))
    return _Checked(stamp=stamp, found=replace(loaded, recording=bare))


def _stamp(path: Path) -> Stamp:
    """Differs between two states of a file; zeros when there is none."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_size, status.st_ino)
