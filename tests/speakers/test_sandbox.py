"""The process that decodes: what it gives, what it cannot do, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from speakers import sandbox
from speakers.recording import load_recording
from speakers.sandbox import Sandbox
from streaming.errors import BadRecording
from tests.speakers.sounds import noise


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    box = Sandbox()
    box.start()
    yield box
    box.close()


@pytest.mark.parametrize("container", ["WAV", "FLAC", "MP3", "OGG"])
def test_it_decodes_as_here(box: Sandbox, container: str) -> None:
    data = noise(16.0, container=container)
    there, here = box.load(data), load_recording(data)
    np.testing.assert_array_equal(there.recording.samples, here.recording.samples)
    assert there.recording.sample_rate_hz == here.recording.sample_rate_hz
    assert there.recording.sha256 == here.recording.sha256
    assert there.warning == here.warning is not None


@pytest.mark.parametrize("data", [b"", b"RIFF", b"x" * 10_000_001, noise(0.5), noise(31.0)])
def test_it_refuses_as_here(box: Sandbox, data: bytes) -> None:
    with pytest.raises(BadRecording) as here:
        load_recording(data)
    with pytest.raises(BadRecording) as there:
        box.load(data)
    assert there.value.message == here.value.message


def _pid(box: Sandbox) -> int:
    child = box._child
    assert child is not None
    return child.pid


def test_it_can_open_nothing_write_nothing_and_knows_nothing(box: Sandbox) -> None:
    box.load(noise(1.0))
    proc = Path("/proc") / str(_pid(box))
    if not proc.exists():
        pytest.skip("this system has no /proc")
    limits = dict(
        (line[:26].strip(), line[26:47].strip())
        for line in (proc / "limits").read_text().splitlines()
    )
    held = sorted(int(fd.name) for fd in (proc / "fd").iterdir())
    assert limits["Max open files"] == str(held[-1] + 1) and len(held) == held[-1] + 1
    assert limits["Max file size"] == "0" and limits["Max core file size"] == "0"
    assert limits["Max address space"] == str(sandbox.MEMORY_BYTES)
    names = {entry.split("=")[0] for entry in (proc / "environ").read_text().split("\0") if entry}
    assert names == {"PYTHONPATH", "OPENBLAS_NUM_THREADS"}


def test_one_that_died_is_replaced(box: Sandbox) -> None:
    box.load(noise(1.0))
    os.kill(_pid(box), signal.SIGKILL)
    with pytest.raises(BadRecording, match="cannot be decoded"):
        box.load(noise(1.0))
    assert box.load(noise(1.0)).recording.sample_rate_hz == 16_000


def test_one_that_hangs_is_stopped() -> None:
    box = Sandbox(timeout_s=0.3)
    box.start()
    os.kill(_pid(box), signal.SIGSTOP)
    began_s = time.monotonic()
    with pytest.raises(BadRecording, match="cannot be decoded"):
        box.load(noise(1.0))
    assert time.monotonic() - began_s < 2.0
    box.close()


@pytest.mark.parametrize(
    "answer",
    [
        "b'[]', b''",
        "b'{}', b''",
        "b'{\"rate_hz\": 16000}', b'abc'",
        "b'{\"rate_hz\": 16000}', b''",
        "b'{\"rate_hz\": true}', bytes(64000)",
        "b'{\"rate_hz\": 4000}', bytes(64000)",
        "b'{\"rate_hz\": 16000}', bytes([0, 0, 192, 127]) * 16000",
        "b'{\"rate_hz\": 16000}', bytes([0, 0, 0, 65]) * 16000",
        "b'{\"rate_hz\": 16000}', bytes(4 * 16000 * 16)",
        "b'{\"rate_hz\": 16000}', bytes(100_000_000)",
        "b'{' * 5_000, b''",
        "b'nothing', b''",
    ],
)
def test_what_it_answers_is_checked(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """A child that a recording has taken over can say what it likes."""
    code = (
        "import sys, struct\n"
        f"for data in ({answer}):\n"
        "    sys.stdout.buffer.write(struct.pack('>Q', len(data)) + data)\n"
        "sys.stdout.buffer.flush(); sys.stdin.buffer.read()\n"
    )

    def spawn() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-S", "-c", code]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    monkeypatch.setattr(sandbox, "_spawn", spawn)
    box = Sandbox()
    with pytest.raises(BadRecording, match="cannot be decoded"):
        box.load(noise(1.0))
    box.close()
