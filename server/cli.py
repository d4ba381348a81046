"""``indextts-server``: load a model, answer until told to stop."""

from __future__ import annotations

import asyncio
import importlib
import logging
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

if TYPE_CHECKING:
    from server.config import Settings

DISTRIBUTION = "indextts-stream"
EXTRA_COMMAND = f"pip install '{DISTRIBUTION}[server]'"

console = Console(stderr=True, highlight=False)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Device(StrEnum):
    """Where to compute; auto takes the first of cuda, npu, mps that is there, else the CPU."""

    auto = "auto"
    cuda = "cuda"
    npu = "npu"
    mps = "mps"
    cpu = "cpu"


class Engine(StrEnum):
    """Who runs the autoregressive part."""

    auto = "auto"
    torch = "torch"
    vllm = "vllm"


class Dtype(StrEnum):
    """Precision of the weights."""

    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


@app.command()
def serve(
    model: Annotated[
        str, typer.Option(help="'nano' (comes with the package) or a checkpoint folder.")
    ] = "nano",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)
    ] = 6008,
    device: Annotated[Device, typer.Option(help="Where to compute.")] = Device.auto,
    engine: Annotated[Engine, typer.Option(help="Who runs the autoregressive part.")] = Engine.auto,
    dtype: Annotated[Dtype, typer.Option(help="Precision of the weights.")] = Dtype.float32,
    voices: Annotated[
        Path | None,
        typer.Option(help="A speaker.json; without it, the voices that come with the package."),
    ] = None,
    voice_cache: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps encoded voices between runs; off by default."),
    ] = None,
) -> None:
    """Speak text over WebSocket and HTTP while it is still being written.

    WebSocket at /v1/audio/speech/stream, OpenAI-compatible HTTP at /v1/audio/speech. Ctrl-C lets
    live speech finish; a second one stops at once.
    """
    _refuse_foreign_package()
    settings_module = _import_extra("server.config")
    settings: Settings = settings_module.Settings(
        model=model,
        host=host,
        port=port,
        device=device.value,
        engine=engine.value,
        dtype=dtype.value,
        voices=() if voices is None else (voices,),
        voice_cache=voice_cache,
    )
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    run(settings)


def run(settings: Settings) -> None:
    """Compose, listen, serve until a signal."""
    transport = _import_extra("server.transport")
    application = _import_extra("server.app")
    try:
        listener = transport.listen(settings.host, settings.port, limits=settings.limits)
    except OSError as error:
        _fail(f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}")
    host, port = listener.getsockname()[:2]
    with console.status("Loading libraries ...") as status:
        composing = _import_extra("server.compose")
        try:
            service = composing.compose(
                settings, progress=lambda step: status.update(f"Loading {step} ...")
            )
        except composing.OPERATOR_ERRORS as error:
            _fail(str(error))
    console.print(f"Loaded {service.info.name} ({service.info.sample_rate_hz} Hz)")
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    asyncio.run(_serve(settings, service, application, transport, (listener, url)))


async def _serve(
    settings: Settings, service: Any, application: Any, transport: Any, place: tuple[Any, str]
) -> None:
    listener, url = place
    server = transport.make_server(
        application.create_app(service, settings),
        limits=settings.limits,
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
