"""``indextts-server``: load a model, answer until told to stop."""

from __future__ import annotations

import asyncio
import gc
import importlib
import inspect
import os
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from server import keys_cli, logs
from server.config import is_loopback
from server.keys import BadKeys, read_keys
from server.sources import (
    CONFIG_VARIABLE,
    SETTINGS,
    BadSetting,
    Setting,
    as_toml,
    build,
    from_environment,
    from_file,
    from_flags,
)

if TYPE_CHECKING:
    from server.config import Settings

DISTRIBUTION = "indextts-stream"
EXTRA_COMMAND = f"pip install '{DISTRIBUTION}[server]'"

console = Console(stderr=True, highlight=False)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.add_typer(keys_cli.app, name="keys")


def serve(context: typer.Context, config: Path | None, print_config: bool, **flags: Any) -> None:
    """Speak text over WebSocket and HTTP while it is still being written.

    Ctrl-C lets live speech finish; a second one stops at once. Every option can also be set in
    the TOML file of --config and by an INDEXTTS_ variable: flags win over variables, variables
    over the file.
    """
    if context.invoked_subcommand is not None:
        return
    try:
        settings = build(
            (
                from_file(config) if config else {},
                from_environment(os.environ),
                from_flags({key: flags[_parameter(key)] for key in SETTINGS}),
            )
        )
    except BadSetting as error:
        _fail(str(error))
    if print_config:
        typer.echo(as_toml(settings), nl=False)
        return
    _refuse_foreign_package()
    _refuse_open_door(settings)
    logs.configure(style=settings.log_format, level=settings.log_level, show_text=settings.log_text)
    run(settings)


def _parameter(key: str) -> str:
    """What Python calls the option of a setting."""
    return key.replace(".", "__")


def _flag(setting: Setting) -> inspect.Parameter:
    """An option, whose text is read by the setting as its other sources are."""
    names = [setting.flag]
    kind: Any = str | None
    if setting.many:
        kind = list[str] | None
    elif setting.kind is bool:
        kind = bool | None
        names = [f"{setting.flag}/--no-{setting.flag[2:]}"]
    numeric = setting.kind in (int, float)
    shown = typer.Option(
        *names,
        help=f"{setting.help or 'A published limit.'}{setting.shown_default}",
        show_default=False,
        metavar="|".join(setting.choices) or ("NUMBER" if numeric else "TEXT"),
        rich_help_panel="Limits" if "." in setting.key else "Options",
    )
    return inspect.Parameter(
        _parameter(setting.key),
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind, shown],
    )


def _signature() -> inspect.Signature:
    """What Typer reads options from: one for each setting, so that none can be forgotten."""
    config = typer.Option("--config", envvar=CONFIG_VARIABLE, help="A TOML file of settings.")
    printing = typer.Option("--print-config", help="Show the settings as TOML and end.")
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Signature(
        [
            inspect.Parameter("context", keyword, annotation=typer.Context),
            inspect.Parameter(
                "config", keyword, default=None, annotation=Annotated[Path | None, config]
            ),
            inspect.Parameter(
                "print_config", keyword, default=False, annotation=Annotated[bool, printing]
            ),
            *map(_flag, SETTINGS.values()),
        ]
    )


serve.__signature__ = _signature()  # type: ignore[attr-defined]
serve.__annotations__ = {}
app.callback(invoke_without_command=True)(serve)


def run(settings: Settings, composing: Any = None) -> None:
    """Compose (with ``server.compose`` unless another is given), listen, serve until a signal."""
    transport = _import_extra("server.transport")
    application = _import_extra("server.app")
    try:
        listener = transport.listen(settings.host, settings.port, limits=settings.limits)
    except OSError as error:
        _fail(f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}")
    host, port = listener.getsockname()[:2]
    with console.status("Loading libraries ...") as status:
        composing = composing or _import_extra("server.compose")
        try:
            service = composing.compose(
                settings, progress=lambda step: status.update(f"Loading {step} ...")
            )
        except composing.OPERATOR_ERRORS as error:
            _fail(str(error))
    console.print(f"Loaded {service.info.name} ({service.info.sample_rate_hz} Hz)")
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    gc.collect()
    gc.freeze()  # what is loaded stays; looking through it for garbage would hold up audio
    tracing = _import_extra("server.tracing")
    tracing.configure(metadata.version(DISTRIBUTION))
    asyncio.run(_serve(settings, service, application, transport, (listener, url)))


async def _serve(
    settings: Settings, service: Any, application: Any, transport: Any, place: tuple[Any, str]
) -> None:
    listener, url = place
    server = transport.make_server(
        application.create_app(service, settings),
        limits=settings.limits,
        head_timeout_s=settings.body_timeout_s,
        drain=lambda: _drain(settings, service),
    )
    announcing = asyncio.create_task(_announce(service, url))
    try:
        await server.serve(sockets=[listener])
    finally:
        announcing.cancel()


async def _drain(settings: Settings, service: Any) -> None:
    if service.admission.active:
        console.print(f"Stopping; live speech has {settings.grace_s:g} s to finish")
    await service.drain(settings.grace_s)


async def _announce(service: Any, url: str) -> None:
    """Say when requests are answered at full speed."""
    with console.status("Warming up ..."):
        await service.warmed.wait()
    if service.state == "ready":
        console.print(f"Ready at {url}")
    else:
        console.print(f"Listening at {url}, but warming up failed: see the log")


def _refuse_open_door(settings: Settings) -> None:
    """Other machines may come in only with a key, or where the operator insists."""
    if settings.keys is not None:
        try:
            read_keys(settings.keys)
        except BadKeys as error:
            _fail(str(error))
        return
    if is_loopback(settings.host) or settings.insecure_no_auth:
        return
    _fail(
        f"refusing to listen on {settings.host} without API keys. Make one with "
        "`indextts-server keys add NAME --keys keys.json` and start with `--keys keys.json`, or "
        "say --insecure-no-auth to let everybody in"
    )


def _refuse_foreign_package() -> None:
    """Two distributions with one package name overwrite each other's files."""
    owners = set(metadata.packages_distributions().get("indextts", ())) - {DISTRIBUTION}
    if owners:
        _fail(
            f"the package 'indextts' belongs to {DISTRIBUTION} and to {', '.join(sorted(owners))}; "
            f"install {DISTRIBUTION} into an environment of its own"
        )


def _import_extra(name: str) -> Any:
    """A module of ours whose libraries come with the [server] extra."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        _fail(f"{error.name} is missing; install it with: {EXTRA_COMMAND}")


def _fail(message: str) -> NoReturn:
    console.print(f"indextts-server: {message}", soft_wrap=True, markup=False)
    raise typer.Exit(1)


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
