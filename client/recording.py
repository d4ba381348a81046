"""Writing what is heard: WAV files that are correct even when the listener stops early."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from streaming.wav import HEADER_BYTES, UNKNOWN_BYTES, wav_header

MAX_DATA_BYTES = UNKNOWN_BYTES - HEADER_BYTES - 1


def check_target(path: Path) -> None:
    """Raise now the ``OSError`` that a ``WavWriter`` of that file would raise later."""
    if path.is_file() or path.is_dir() or not path.exists():  # opening a pipe is for once
        WavWriter(path, sample_rate_hz=1).abort()


class WavWriter:
    """Writes mono s16le PCM as WAV.

    A file appears under its name only when ``close`` has put the sizes right (``abort`` leaves
    nothing). A stream, pipe or device gets the data at once; one that cannot seek keeps unknown
    sizes. As a context manager it closes, or aborts when an exception leaves the block. Raises
    ``OSError`` of the file, and ``OverflowError`` past the 4 GiB that WAV can say.
    """

    def __init__(self, target: Path | BinaryIO, *, sample_rate_hz: int) -> None:
        self._rate_hz = sample_rate_hz
        self._data_bytes = 0
        self._path: Path | None = None
        self._part: Path | None = None
        self._owned = isinstance(target, Path)
        self._file = self._open(target) if isinstance(target, Path) else target
        self._start = self._file.tell() if self._file.seekable() else None
        self._file.write(wav_header(sample_rate_hz))

    def _open(self, target: Path) -> BinaryIO:
        path = target.resolve()
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            return path.open("wb")  # a device or pipe must not be replaced by a file
        self._path = path
        self._part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            return self._part.open("wb")
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error

    def write(self, pcm: bytes) -> None:
        """Append samples."""
        if self._data_bytes + len(pcm) > MAX_DATA_BYTES:
            raise OverflowError("a WAV file cannot be larger than 4 GiB")
        self._file.write(pcm)
        self._data_bytes += len(pcm)

    def close(self) -> None:
        """Put the sizes right and give the file its name."""
        if self._start is not None:
            self._file.seek(self._start)
            self._file.write(wav_header(self._rate_hz, data_bytes=self._data_bytes))
            self._file.seek(0, os.SEEK_END)
        self._file.flush()
        if self._owned:
            self._file.close()
        if self._part is not None and self._path is not None:
            os.replace(self._part, self._path)

    def abort(self) -> None:
        """Leave no file; what a stream has got it keeps."""
        if self._owned:
            self._file.close()
        if self._part is not None:
            self._part.unlink(missing_ok=True)

    def __enter__(self) -> WavWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()
