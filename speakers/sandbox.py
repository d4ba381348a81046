"""Recordings of strangers, decoded where it does no harm: in a process that can do nothing else.

libsndfile has had its holes. The child holds no secrets, opens no file and no socket, writes
nothing and has little memory; it is stopped when it takes too long, and what it answers is
checked like any other input. The two talk in frames: a length of 8 bytes, then so many bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from speakers.recording import DEFAULT_LIMITS, LoadedRecording, check_size, load_recording
from streaming.errors import BadRecording
from streaming.speech import Recording

TIMEOUT_S = 3.0
MEMORY_BYTES = 1 << 30

_LENGTH = struct.Struct(">Q")
_MAX_TOLD_BYTES = 4_096
_END_S = 5.0


class Sandbox:
    """``load_recording`` somewhere else, one recording at a time.

    The process is started at the first call or by ``start``, and replaced when it was stopped.
    """

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread: ThreadPoolExecutor | None = None

    def start(self) -> None:
        """Have the process there before the first recording comes; blocking."""
        with self._lock:
            self._child = self._child or _spawn()

    async def decode(self, data: bytes) -> LoadedRecording:
        """As ``load``, on a thread of its own: recordings that hang hold up nobody else's work."""
        self._thread = self._thread or ThreadPoolExecutor(1, "sandbox")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.load, data)

    def load(self, data: bytes) -> LoadedRecording:
        """As ``load_recording``; blocking, from any thread. Raises ``BadRecording``."""
        check_size(data, DEFAULT_LIMITS)
        with self._lock:
            child = self._child = self._child or _spawn()
            assert child.stdin is not None and child.stdout is not None
            try:
                with _stopping(child, self._timeout_s):
                    _put(child.stdin, data)
                    told = json.loads(_get(child.stdout, _MAX_TOLD_BYTES))
                    samples = _get(child.stdout, _most_bytes())
            except (OSError, EOFError, ValueError):
                self._drop()
                raise BadRecording("the recording cannot be decoded") from None
        return _checked(told, samples, data)

    def close(self) -> None:
        """End the process and the thread; blocking."""
        if (child := self._child) is not None:
            child.kill()
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
            self._thread = None
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        try:
            child.communicate(timeout=_END_S)
        except (OSError, ValueError, subprocess.TimeoutExpired):
            child.wait()


@contextmanager
def _stopping(child: subprocess.Popen[bytes], timeout_s: float) -> Iterator[None]:
    """Kill the child when the block takes too long; what waits for it then sees its end."""
    timer = threading.Timer(timeout_s, child.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _spawn() -> subprocess.Popen[bytes]:
    root = str(Path(__file__).parents[1])
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"},
        start_new_session=True,  # Ctrl-C is for the server, which closes us in its own time
    )


def _most_bytes() -> int:
    limits = DEFAULT_LIMITS
    return 4 * (int(limits.keep_s * limits.max_rate_hz) + 1)


def _checked(told: Any, samples: bytes, data: bytes) -> LoadedRecording:
    """What the child answered, trusted no more than its input was."""
    if not isinstance(told, dict) or len(samples) % 4:
        raise BadRecording("the recording cannot be decoded")
    if (refusal := told.get("refusal")) is not None:
        raise BadRecording(str(refusal))
    rate_hz, warning = told.get("rate_hz"), told.get("warning")
    decoded = np.frombuffer(samples, np.float32)
    limits = DEFAULT_LIMITS
    if (
        not isinstance(rate_hz, int)
        or not limits.min_rate_hz <= rate_hz <= limits.max_rate_hz
        or not limits.min_s * rate_hz <= len(decoded) <= limits.keep_s * rate_hz
        or not (np.abs(decoded) <= 1.0).all()  # false for NaN
    ):
        raise BadRecording("the recording cannot be decoded")
    return LoadedRecording(
        recording=Recording(
            samples=decoded, sample_rate_hz=rate_hz, sha256=hashlib.sha256(data).hexdigest()
        ),
        warning=None if warning is None else str(warning),
    )


def _put(stream: IO[bytes], data: bytes) -> None:
    stream.write(_LENGTH.pack(len(data)))
    stream.write(data)
    stream.flush()


def _get(stream: IO[bytes], max_bytes: int) -> bytes:
    """One frame; raises ``EOFError`` at the end and ``ValueError`` for one that is too long."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    if length > max_bytes:
        raise ValueError("the frame is too long")
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data


def _lock_up() -> None:
    """Give up everything that decoding does not need."""
    if sys.platform == "win32":
        return
    import resource

    free = os.dup(0)
    os.close(free)
    for limit, value in (
        (resource.RLIMIT_NOFILE, free),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    if sys.platform == "linux":  # macOS has no such limit to set
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _answer(data: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        loaded = load_recording(data)
    except BadRecording as error:
        return {"refusal": error.message}, b""
    except MemoryError:
        return {"refusal": "the recording is too big to decode"}, b""
    recording = loaded.recording
    told = {"rate_hz": recording.sample_rate_hz, "warning": loaded.warning}
    return told, recording.samples.tobytes()


def _serve() -> None:
    """Answer frame for frame until the input ends."""
    _answer(b"RIFF")  # what is imported on first use has to be there before the door is locked
    _lock_up()
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    while True:
        try:
            told, samples = _answer(_get(stdin, DEFAULT_LIMITS.max_bytes + 1))
        except EOFError:
            return
        _put(stdout, json.dumps(told).encode())
        _put(stdout, samples)


if __name__ == "__main__":
    _serve()
