"""Multipart forms, bounded in every direction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from streaming.errors import BadMessage, BadRecording

MAX_BYTES = 20_000_000
"""Of a whole form."""

_MAX_FIELDS = 16
_MAX_FIELD_BYTES = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The text fields by name, the last of equal names, and the files in order."""

    fields: Mapping[str, str]
    files: tuple[bytes, ...]


class _Parser(MultiPartParser):
    """Keeps files in memory, as the form as a whole is bounded, and misses the end of a form."""

    spool_max_size = MAX_BYTES

    def __init__(self, request: Request, *, max_files: int) -> None:
        self._ended = False
        super().__init__(
            request.headers,
            self._pieces(request),
            max_files=max_files,
            max_fields=_MAX_FIELDS,
            max_part_size=_MAX_FIELD_BYTES,
        )

    def on_end(self) -> None:
        """The last boundary was there."""
        self._ended = True

    async def _pieces(self, request: Request) -> AsyncGenerator[bytes, None]:
        """The body; what is raised here makes the parser close its files."""
        size = 0
        async for piece in request.stream():
            size += len(piece)
            if size > MAX_BYTES:
                raise BadRecording(f"a form has at most {MAX_BYTES // 1_000_000} MB")
            yield piece
            await asyncio.sleep(0)  # what has been sent at once leaves others no turn
        if not self._ended:
            raise MultiPartException("it is cut off")


async def read_form(request: Request, *, max_files: int, timeout_s: float) -> Form:
    """The form in a request; raises ``BadMessage``, and ``BadRecording`` when it is too big."""
    try:
        async with asyncio.timeout(timeout_s):
            parsed = (await _Parser(request, max_files=max_files).parse()).multi_items()
    except TimeoutError:
        raise BadMessage("the request's body did not come") from None
    except ClientDisconnect:
        raise BadMessage("the client left before the request's end") from None
    except (MultiPartException, KeyError, UnicodeError) as error:
        why = f": {error.message}" if isinstance(error, MultiPartException) else ""
        raise BadMessage(f"the request is not a multipart form of ours{why}") from None
    fields = {name: value for name, value in parsed if isinstance(value, str)}
    if _has_surrogates(*fields, *fields.values()):
        raise BadMessage("the form's text is not Unicode")
    files = [value.file for _, value in parsed if isinstance(value, UploadFile)]
    try:
        return Form(fields=fields, files=tuple(file.read() for file in files))
    finally:
        for file in files:
            file.close()


def _has_surrogates(*texts: str) -> bool:
    """Whether any is not Unicode text, as some character sets that a form may name decode to."""
    return any("\ud800" <= character <= "\udfff" for text in texts for character in text)
