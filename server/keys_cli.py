"""``indextts-server keys``: make, list and remove API keys."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from server.keys import Allowance, BadKeys, Key, make_key, read_keys, write_keys
from server.sources import SETTINGS

app = typer.Typer(help="Make, list and remove API keys.", no_args_is_help=True)
console = Console(highlight=False)

KeysFile = Annotated[
    Path, typer.Option("--keys", envvar=SETTINGS["keys"].variable, help="The file of keys.")
]
_DEFAULT = Path("keys.json")


def _limit(what: str) -> Any:
    return typer.Option(min=1, help=f"{what}; otherwise as the server's settings say.")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    keys: KeysFile = _DEFAULT,
    priority: Annotated[int, typer.Option(help="A higher one leaves the queue first.")] = 0,
    concurrent: Annotated[int | None, _limit("Requests at once")] = None,
    requests_per_minute: Annotated[int | None, _limit("Requests in a minute")] = None,
    characters_per_minute: Annotated[int | None, _limit("Characters in a minute")] = None,
) -> None:
    """Make a key and print it, this once; the file keeps a hash of it."""
    known = _read(keys) if keys.exists() else ()
    allowance = Allowance(
        concurrent=concurrent,
        requests_per_minute=requests_per_minute,
        characters_per_minute=characters_per_minute,
    )
    key, text = make_key(name, priority=priority, allowance=allowance)
    _write(keys, (*known, key))
    console.print(text, markup=False, soft_wrap=True)


@app.command(name="list")
def show(keys: KeysFile = _DEFAULT) -> None:
    """Show who has keys and what they may use."""
    table = Table("id", "name", "made", "priority", "at once", "requests/min", "characters/min")
    for key in _read(keys):
        own = key.allowance
        limits = (own.concurrent, own.requests_per_minute, own.characters_per_minute)
        made = time.strftime("%Y-%m-%d", time.gmtime(key.created_s))
        shown = ("-" if limit is None else str(limit) for limit in limits)
        table.add_row(key.id, key.name, made, str(key.priority), *shown)
    console.print(table)


@app.command()
def remove(
    key_id: Annotated[str, typer.Argument(help="The id that `list` shows.")],
    keys: KeysFile = _DEFAULT,
) -> None:
    """Remove a key; a running server notices within a second."""
    known = _read(keys)
    left = tuple(key for key in known if key.id != key_id)
    if len(left) == len(known):
        _fail(f"{keys} has no key {key_id}")
    _write(keys, left)


def _read(path: Path) -> tuple[Key, ...]:
    try:
        return read_keys(path)
    except BadKeys as error:
        _fail(str(error))


def _write(path: Path, keys: tuple[Key, ...]) -> None:
    try:
        write_keys(path, keys)
    except OSError as error:
        _fail(f"cannot write {path}: {error.strerror}")


def _fail(message: str) -> NoReturn:
    Console(stderr=True, highlight=False).print(
        f"indextts-server: {message}", markup=False, soft_wrap=True
    )
    raise typer.Exit(1)
