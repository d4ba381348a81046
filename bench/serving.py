"""A real server in its own process, as a user would start it."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).parents[1]
READY_S = 120.0
SAMPLED_EVERY_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server that is ready; ``ready_s`` counts from the start of its process."""

    url: str
    ready_s: float
    process: psutil.Process

    def memory_bytes(self) -> int:
        """Resident memory of the server and its helper processes, pages shared by them twice."""
        total = 0
        for process in (self.process, *self.process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total


class PeakMemory:
    """Looks at a server's memory again and again; ``bytes`` is the most it saw."""

    def __init__(self, served: Served) -> None:
        self.bytes = 0
        self._served, self._over = served, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._over.wait(SAMPLED_EVERY_S):
            with suppress(psutil.NoSuchProcess):
                self.bytes = max(self.bytes, self._served.memory_bytes())

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


@contextmanager
def running_server(*arguments: str, module: str = "server.cli") -> Iterator[Served]:
    """An ``indextts-server`` that is ready, or another module that serves; stopped at the end.

    Raises ``RuntimeError`` with what the server said when it does not come up.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", module, "--port", str(port), *arguments]
    process = subprocess.Popen(command, cwd=ROOT)
    url = f"http://127.0.0.1:{port}"
    try:
        ready_s = wait_ready(url, process)
        yield Served(url=url, ready_s=ready_s, process=psutil.Process(process.pid))
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
