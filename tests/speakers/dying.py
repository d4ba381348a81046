"""Adds or removes a voice and dies of SIGKILL at every line on the way; run as a program.

Prints what is left after each death: ``[voices in the folder, whether doing it again works]``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from speakers import uploads
from speakers.uploads import Sheet, UploadFolder
from streaming.errors import BadConfig
from tests.speakers.sounds import noise

OLD = Sheet(name="old", consent="yes", owner="me")
NEW = Sheet(name="new", consent="yes", owner="me")


def die_at(line: int) -> Callable[..., Any]:
    """A tracer that kills the process when that many lines of ``speakers.uploads`` have run."""
    left = line

    def trace(frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        nonlocal left
        if frame.f_code.co_filename != uploads.__file__:
            return None
        if event == "line":
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace


def act(what: str, folder: UploadFolder) -> None:
    """Add a voice of two recordings, or remove the one that is there."""
    if what == "add":
        folder.add(NEW, [noise(1.0, seed=1), noise(1.0, seed=2)])
    else:
        folder.remove("old")


def main(what: str, root: Path) -> None:
    """Die at every line, until one run gets through."""
    # What a killed process has written is not lost, so that waiting for the disk proves nothing.
    setattr(os, "fsync", lambda handle: None)  # noqa: B010
    for line in range(1_000):
        folder = UploadFolder(root / str(line), max_voices=3, max_bytes=10**6)
        folder.add(OLD, [noise(1.0)])
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            sys.settrace(die_at(line))
            act(what, folder)
            sys.settrace(None)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        found = folder.load()
        for speaker in found:
            assert len(speaker.load()) == len(speaker.files)
        names = [speaker.name for speaker in found]
        try:
            act(what, folder)
            again = True
        except BadConfig:
            again = False
        sys.stdout.write(f"{json.dumps([names, again])}\n")
        shutil.rmtree(root / str(line))
        if os.WIFEXITED(status):
            return


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
