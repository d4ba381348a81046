"""Text from standard input: by line, by token, broken, endless, abandoned."""

from __future__ import annotations

import asyncio
import io
import os
import threading
from typing import BinaryIO

import pytest

from client.speaking import Piece
from client.stdin import read_pieces


async def pieces(data: bytes, *, by_line: bool, interactive: bool = False) -> list[Piece]:
    file = io.BytesIO(data)
    return [piece async for piece in read_pieces(file, by_line=by_line, interactive=interactive)]


async def test_lines_are_sent_whole_and_a_blank_one_speaks() -> None:
    got = await pieces("Hello\nWörld.\n\nEnd".encode(), by_line=True)
    assert [(piece.text, piece.flush) for piece in got] == [
        ("Hello\n", False),
        ("Wörld.\n", False),
        ("\n", True),
        ("End", False),
    ]


async def test_every_line_that_a_person_types_is_spoken() -> None:
    got = await pieces(b"Hello\nthere\n", by_line=True, interactive=True)
    assert [piece.flush for piece in got] == [True, True, False]


async def test_an_endless_line_is_sent_in_pieces() -> None:
    got = await pieces(b"x" * 200_000, by_line=True)
    assert "".join(piece.text for piece in got) == "x" * 200_000
    assert max(len(piece.text) for piece in got) < 80_000


async def test_tokens_lose_nothing() -> None:
    text = "Hello  there,\n\tmy 朋友。 " * 500
    got = await pieces(text.encode(), by_line=False)
    assert "".join(piece.text for piece in got) == text
    assert len(got) > 1_500 and not any(piece.flush for piece in got)


async def test_characters_cut_in_two_are_joined_and_nonsense_is_marked() -> None:
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as file, os.fdopen(write_end, "wb", buffering=0) as writer:
        text, data = "", "é🎉".encode()

        async def write() -> None:
            for byte in [*data, 0xFF]:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.01)
            writer.close()

        writing = asyncio.create_task(write())
        async for piece in read_pieces(file, by_line=False, interactive=False):
            text += piece.text
        await writing
    assert text == "é🎉\ufffd"


async def test_pieces_come_while_the_input_is_still_open() -> None:
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as file, os.fdopen(write_end, "wb", buffering=0) as writer:
        reading = read_pieces(file, by_line=True, interactive=False)
        writer.write(b"first\n")
        async with asyncio.timeout(5):
            assert (await anext(reading)).text == "first\n"
        writer.close()
        assert [piece.text async for piece in reading] == [""]


async def test_a_broken_input_raises() -> None:
    class Broken(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        async for _ in read_pieces(Broken(), by_line=True, interactive=False):
            pass


def test_an_input_that_never_ends_does_not_keep_the_program() -> None:
    read_end, write_end = os.pipe()

    async def interrupted(file: BinaryIO) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                async for _ in read_pieces(file, by_line=True, interactive=False):
                    pass

    with os.fdopen(read_end, "rb") as file:
        asyncio.run(interrupted(file))
        threads = [thread for thread in threading.enumerate() if thread.name == "read text"]
        assert len(threads) == 1 and threads[0].daemon
        os.close(write_end)
        threads[0].join(5)
        assert not threads[0].is_alive()
