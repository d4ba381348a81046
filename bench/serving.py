"""A real server in its own process, as a user would start it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]
READY_S = 120.0


@contextmanager
def running_server(*arguments: str) -> Iterator[str]:
    """The URL of an ``indextts-server`` that is ready; it is stopped at the end.

    Raises ``RuntimeError`` with what the server said when it does not come up.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "server.cli", "--port", str(port), *arguments]
    process = subprocess.Popen(command, cwd=ROOT)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_ready(url, process)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_ready(url: str, process: subprocess.Popen[bytes]) -> float:
    """Seconds until ``/readyz`` answers 200; raises ``RuntimeError`` when it never does."""
    began_s = time.monotonic()
    while time.monotonic() - began_s < READY_S:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode}")
        try:
            if httpx.get(f"{url}/readyz", timeout=2.0).status_code == 200:
                return time.monotonic() - began_s
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"the server was not ready after {READY_S:.0f} s")
