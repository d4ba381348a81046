"""The header of a WAV file."""

from __future__ import annotations

import struct

HEADER_BYTES = 44
UNKNOWN_BYTES = 0xFFFFFFFF
"""In place of both sizes while they are not known, as streamed WAV has it."""


def wav_header(sample_rate_hz: int, data_bytes: int | None = None) -> bytes:
    """The 44 bytes before mono s16le PCM; without ``data_bytes`` the sizes are unknown."""
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        UNKNOWN_BYTES if data_bytes is None else HEADER_BYTES - 8 + data_bytes,
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        sample_rate_hz,
        2 * sample_rate_hz,
        2,
        16,
        b"data",
        UNKNOWN_BYTES if data_bytes is None else data_bytes,
    )
