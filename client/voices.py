"""The command ``indextts-client voices``: list, add and remove who can speak."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from client.http import HttpClient
from client.outcome import Json, Url, WaitReady, api_key, guard
from client.show import consoles, voices_json, voices_table
from client.urls import DEFAULT_URL

app = typer.Typer(help="List, add or remove voices.")


@app.callback(invoke_without_command=True)
def voices(
    context: typer.Context,
    url: Url = DEFAULT_URL,
    wait_ready: WaitReady = 0.0,
    as_json: Json = False,
) -> None:
    """List who can speak; or add and remove voices."""
    if context.invoked_subcommand is None:
        show(url, wait_ready, as_json)
        return
    sources = map(context.get_parameter_source, context.params)
    if any(source is not None and source.name == "COMMANDLINE" for source in sources):
        raise typer.BadParameter(f"options belong behind {context.invoked_subcommand!r}")


@app.command("list")
def show(url: Url = DEFAULT_URL, wait_ready: WaitReady = 0.0, as_json: Json = False) -> None:
    """List who can speak."""

    async def fetch() -> None:
        async with HttpClient(url, key=api_key()) as client:
            if wait_ready:
                await client.wait_ready(wait_ready)
            found = await client.voices()
        if as_json:
            print(voices_json(found))
        else:
            consoles(to_stderr=False)[0].print(voices_table(found))

    guard(fetch(), as_json=as_json)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What to call the voice.")],
    recordings: Annotated[
        list[Path], typer.Argument(help="Recordings of 1 to 30 seconds.", exists=True)
    ],
    consent: Annotated[str, typer.Option(help="The speaker's agreement, in words.")],
    description: Annotated[str, typer.Option(help="What to tell others of the voice.")] = "",
    language: Annotated[str | None, typer.Option(help="The voice's language, as en.")] = None,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Add a voice made of RECORDINGS."""

    async def send() -> None:
        async with HttpClient(url, key=api_key()) as client:
            added = await client.add_voice(
                name,
                [path.read_bytes() for path in recordings],
                consent=consent,
                description=description,
                language=language,
            )
        if as_json:
            print(voices_json([added]))
        else:
            consoles(to_stderr=False)[0].print(voices_table([added]))

    guard(send(), as_json=as_json)


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="Which voice.")],
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Delete a voice that was added."""

    async def send() -> None:
        async with HttpClient(url, key=api_key()) as client:
            await client.remove_voice(name)

    guard(send(), as_json=as_json)
