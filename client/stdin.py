"""Text from standard input as it comes, without blocking the event loop or the exit."""

from __future__ import annotations

import asyncio
import codecs
import re
import threading
from collections.abc import AsyncIterator
from typing import BinaryIO

from client.speaking import Piece

QUEUE_PIECES = 64
READ_BYTES = 4096

_TOKEN = re.compile(r"\s*\S+\s*|\s+")


async def read_pieces(file: BinaryIO, *, by_line: bool, interactive: bool) -> AsyncIterator[Piece]:
    """Pieces of ``file`` until its end.

    By line, a blank line (from a person every line) is spoken at once. Otherwise every word is a
    message of its own, sent as soon as it is there. Bytes that are not UTF-8 become U+FFFD.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    async for data in _read(file, by_line=by_line):
        text = decoder.decode(data, final=not data)
        if by_line:
            yield Piece(text=text, flush=interactive or not text.strip())
        else:
            for token in _TOKEN.findall(text):
                yield Piece(text=token)


async def _read(file: BinaryIO, *, by_line: bool) -> AsyncIterator[bytes]:
    """Bytes as they come, at last empty ones.

    The thread is a daemon because nothing can end a blocking read: a program that was interrupted
    must not wait for the next line.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes | Exception] = asyncio.Queue(QUEUE_PIECES)

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
            while data := file.readline(READ_BYTES) if by_line else _some(file):
                if not put(data):
                    return
            put(b"")
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


def _some(file: BinaryIO) -> bytes:
    """What is there, at least one byte unless the file is at its end."""
    read = getattr(file, "read1", file.read)
    return bytes(read(READ_BYTES))
