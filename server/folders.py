"""Recordings by path, opened so that a caller cannot leave the operator's folders."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from streaming.errors import BadConfig, BadRecording, ReferenceRefused


class Folders:
    """Regular files below ``roots``, reached without a link on the way.

    A relative path is looked for in every root in order; an absolute one has to begin with a root
    as it was configured, or with where that leads. Hard links are the operator's affair. Raises
    ``BadConfig``.
    """

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = [(root.absolute(), root.resolve()) for root in roots]
        for root, _ in self._roots:
            if not root.is_dir():
                raise BadConfig(f"there is no folder {root}", param="reference_dirs")
        if self._roots and os.open not in os.supports_dir_fd:
            raise BadConfig("recordings by path need a POSIX system", param="reference_dirs")

    def check(self, text: str) -> list[tuple[Path, tuple[str, ...]]]:
        """Where the file may be: roots, and the steps from them.

        Raises ``ReferenceRefused`` for what is not a path into a root.
        """
        if not self._roots:
            raise ReferenceRefused("paths are not allowed by this server")
        path = PurePosixPath(text)
        if not text.isprintable() or "\\" in text or ".." in path.parts or not path.parts:
            raise ReferenceRefused("a plain path without '..' is due")
        if not path.is_absolute():
            return [(resolved, path.parts) for _, resolved in self._roots]
        places = []
        for named, resolved in self._roots:
            for root in (named, resolved):
                if path.is_relative_to(root) and (steps := path.relative_to(root).parts):
                    places.append((resolved, steps))
        if not places:
            raise ReferenceRefused("the path is outside the folders of this server")
        return places

    def read(self, text: str, max_bytes: int) -> bytes:
        """At most ``max_bytes`` + 1 bytes of the file; blocking.

        Raises ``ReferenceRefused``, and ``BadRecording`` when there is no such file.
        """
        for root, steps in self.check(text):
            with suppress(FileNotFoundError):
                return _read_below(root, steps, max_bytes)
        raise BadRecording("there is no such recording")


def _read_below(root: Path, steps: tuple[str, ...], max_bytes: int) -> bytes:
    """Raises ``FileNotFoundError``, ``ReferenceRefused`` and ``BadRecording``."""
    only_folders = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    no_link = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    folder = os.open(root, only_folders)
    try:
        for step in steps[:-1]:
            folder, above = os.open(step, only_folders, dir_fd=folder), folder
            os.close(above)
        # Even opening a device can have effects, so the kind is looked at before.
        if not stat.S_ISREG(os.stat(steps[-1], dir_fd=folder, follow_symlinks=False).st_mode):
            raise ReferenceRefused("the recording is not a regular file")
        with os.fdopen(os.open(steps[-1], no_link, dir_fd=folder), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ReferenceRefused("the recording is not a regular file")
            return file.read(max_bytes + 1)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise ReferenceRefused("the path goes over a link or through a file") from None
        raise BadRecording("the recording cannot be read") from None
    finally:
        os.close(folder)
