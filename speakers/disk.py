"""Encoded voices on disk, so that a restarted server need not encode them again.

One npz file per voice, whose zip checksums tell a damaged file. The cache is only a help: whatever
goes wrong with a file is logged, the file ignored and later written anew.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streaming.speech import Samples

DISK_BYTES = 1024 * 1024 * 1024

_PREFIX = "voice."
"""Before every array name, so that none is a reserved word of ``numpy.savez``."""

logger = logging.getLogger(__name__)


class DiskCache:
    """Voices of one model in ``folder``, at most ``max_bytes``, the least recently used removed.

    ``fingerprint`` names the model's weights, so that voices of another are never found. All
    methods block and raise nothing; two processes may share a folder.
    """

    def __init__(self, folder: Path, *, fingerprint: str, max_bytes: int = DISK_BYTES) -> None:
        self._folder = folder
        self._fingerprint = fingerprint
        self._max_bytes = max_bytes

    def path(self, key: str) -> Path:
        """Where the voice of that content hash is kept."""
        digest = hashlib.sha256(f"{self._fingerprint}\n{key}".encode()).hexdigest()
        return self._folder / f"{digest[:40]}.npz"

    def read(self, key: str) -> dict[str, NDArray[np.float32]] | None:
        """The arrays of a voice, ``None`` when there is no sound file of them."""
        path = self.path(key)
        try:
            # numpy leaves a file that it opened itself open when its zip directory is damaged
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_size > self._max_bytes:
                    raise ValueError("the file is too big")
                with np.load(file, allow_pickle=False) as npz:
                    arrays = {name.removeprefix(_PREFIX): _float32(npz[name]) for name in npz}
            os.utime(path)
        except FileNotFoundError:
            return None
        except Exception as error:  # what zip and numpy parsers raise on damage is not documented
            logger.warning("a cached voice cannot be read and is made anew: %s", error)
            return None
        return arrays

    def write(self, key: str, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        """Keep the arrays of a voice: the whole file or none, older ones removed for space."""
        if sum(array.nbytes for array in arrays.values()) > self._max_bytes:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self._folder, suffix=".tmp")
            try:
                with os.fdopen(handle, "wb") as file:
                    named = {_PREFIX + name: array for name, array in arrays.items()}
                    np.savez(file, allow_pickle=False, **named)
                os.replace(temporary, self.path(key))
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
            self._prune()
        except OSError as error:
            logger.warning("cannot keep an encoded voice on disk: %s", error)

    def remove(self, key: str) -> None:
        """Delete the voice of that content hash, if it is there."""
        try:
            self.path(key).unlink(missing_ok=True)
        except OSError as error:
            logger.warning("cannot delete an encoded voice: %s", error)

    def _prune(self) -> None:
        """Remove the least recently used files until the rest fits."""
        held = []
        for path in self._folder.iterdir():
            if path.suffix in {".npz", ".tmp"}:
                status = path.stat()
                held.append((status.st_mtime_ns, status.st_size, path))
        excess = sum(size for _, size, _ in held) - self._max_bytes
        for _, size, path in sorted(held):
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            excess -= size


def _float32(array: Samples) -> NDArray[np.float32]:
    if array.dtype != np.float32:
        raise ValueError(f"an array of {array.dtype} where float32 is due")
    return array
