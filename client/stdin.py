"""Text from standard input as it comes, without blocking the event loop or the exit."""

from __future__ import annotations

import asyncio
import codecs
import io
import re
import sys
import threading
from collections.abc import AsyncIterator
from typing import BinaryIO, cast

from client.speaking import Piece

QUEUE_PIECES = 64
READ_BYTES = 4096
LINE_CHARACTERS = 65_536
"""A line that is longer is sent in pieces."""

_TOKEN = re.compile(r"\s*\S+\s*|\s+")


def open_stdin() -> BinaryIO:
    """Standard input without a buffer: no program can exit while a thread holds a buffer's lock."""
    try:
        raw = io.FileIO(sys.stdin.fileno(), closefd=False)
    except (OSError, ValueError):  # not a real file, as in a test
        return sys.stdin.buffer
    return cast(BinaryIO, raw)


async def read_pieces(file: BinaryIO, *, by_line: bool, interactive: bool) -> AsyncIterator[Piece]:
    """Pieces of ``file`` until its end.

    By line, a blank line (from a person every line) is spoken at once. Otherwise every word is a
    message of its own, sent as soon as it is there. Bytes that are not UTF-8 become U+FFFD.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    held = ""
    async for data in _read(file):
        held += decoder.decode(data, final=not data)
        if by_line:
            *lines, held = held.split("\n")
            for line in lines:
                yield Piece(text=f"{line}\n", flush=interactive or not line.strip())
            if data and len(held) < LINE_CHARACTERS:
                continue
        for token in [held] if by_line else _TOKEN.findall(held):
            yield Piece(text=token)
        held = ""


async def _read(file: BinaryIO) -> AsyncIterator[bytes]:
    """Bytes as they come, at last empty ones.

    The thread is a daemon because nothing can end a blocking read: a program that was interrupted
    must not wait for the next line.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes | Exception] = asyncio.Queue(QUEUE_PIECES)
    read = getattr(file, "read1", file.read)

    def put(item: bytes | Exception) -> bool:
        waiting = queue.put(item)
        try:
            asyncio.run_coroutine_threadsafe(waiting, loop).result()
        except Exception:  # the loop is closed or closing: nobody listens any more
            waiting.close()
            return False
        return True

    def work() -> None:
        try:
            while put(data := read(READ_BYTES)) and data:
                pass
        except (OSError, ValueError) as error:
            put(error)

    threading.Thread(target=work, name="read text", daemon=True).start()
    while True:
        item = await queue.get()
        if isinstance(item, Exception):
            raise item
        yield item
        if not item:
            return
