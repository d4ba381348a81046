"""What all commands share: options, the key, and how they end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

import typer

from client.errors import ClientError
from client.show import consoles, error_json
from streaming.errors import SpeechError

EXIT_REFUSED, EXIT_LOST, EXIT_STOPPED = 1, 3, 130

T = TypeVar("T")

Url = Annotated[str, typer.Option(envvar="INDEXTTS_URL", help="Where the server is.")]
WaitReady = Annotated[
    float, typer.Option(min=0.0, metavar="SECONDS", help="Wait so long for the server to be ready.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON, for machines.")]


def api_key() -> str | None:
    """The key of the environment; on a command line, other users of the machine would see it."""
    return os.environ.get("INDEXTTS_API_KEY")


def guard(work: Coroutine[Any, Any, T], *, as_json: bool) -> T:
    """The result of ``work``, or its failure told in one line and as exit code."""
    try:
        return asyncio.run(work)
    except SpeechError as error:
        code, message, exit_code = error.code, error.message, EXIT_REFUSED
    except ClientError as error:
        code, message, exit_code = type(error).__name__, str(error), EXIT_LOST
    except OSError as error:
        message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        code, exit_code = "local", EXIT_REFUSED
    except OverflowError as error:
        code, message, exit_code = "local", str(error), EXIT_REFUSED
    if as_json:
        print(error_json(code, message))
    consoles(to_stderr=True)[1].print(f"error ({code}): {message}", markup=False, soft_wrap=True)
    raise typer.Exit(exit_code)
