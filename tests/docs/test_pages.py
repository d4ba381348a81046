"""What the pages say of the code is what the code is."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

import bench.cancel
import bench.frames
import bench.latency
import bench.overhead
import bench.overload
import bench.schema
import bench.slices
import bench.stall
import bench.uploads
import bench.voice
import client.commands
import indextts.parity
import server.cli
from indextts.text.normalizer import Normalizer
from indextts.v2.config import InferenceConfig
from server.app import create_app
from server.errors import ANSWERS
from server.sources import SETTINGS
from speakers.catalog import load_catalog
from streaming.errors import InputError
from streaming.fields import FIELDS
from streaming.session import Limits
from streaming.wire import decode_client, decode_server
from tests.docs.pages import PAGES, ROOT, Block, anchor, blocks, code, links, prose, read, rows
from tests.server.rooms import make_room
from tests.speakers.sounds import noise
from training.cli import STEPS

PACKAGES = ("streaming", "speakers", "indextts", "server", "client")


def options(app: typer.Typer, command: str | None = None) -> set[str]:
    """Every option of a command line, or of one of its commands."""
    root: Any = get_command(app)
    members = list(_members(root if command is None else root.commands[command]))
    params = [param for member in members for param in member.params]
    flags = {opt for p in params if p.param_type_name == "option" for opt in p.opts}
    flags |= {opt for p in params if p.param_type_name == "option" for opt in p.secondary_opts}
    return flags - {"--help"}


def _members(command: Any) -> Iterator[Any]:
    """A command and all below it."""
    yield command
    for below in getattr(command, "commands", {}).values():
        yield from _members(below)


def _single(main: Any) -> typer.Typer:
    app = typer.Typer()
    app.command()(main)
    return app


def programs() -> Mapping[str, typer.Typer]:
    return {
        "indextts-server": server.cli.app,
        "indextts-client": client.commands.app,
        "python -m indextts.parity": _single(indextts.parity.main),
        "scripts/bench latency": _single(bench.latency.main),
        "scripts/bench cancel": _single(bench.cancel.main),
        "scripts/bench overhead": _single(bench.overhead.main),
        "scripts/bench frames": _single(bench.frames.main),
        "scripts/bench overload": _single(bench.overload.main),
        "scripts/bench stall": _single(bench.stall.main),
        "scripts/bench schema": _single(bench.schema.main),
        "scripts/bench slices": _single(bench.slices.main),
        "scripts/bench uploads": _single(bench.uploads.main),
        "scripts/bench voice": _single(bench.voice.main),
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    found = links(page)
    for link in found:
        if link.startswith("https://"):
            continue
        name, _, part = link.partition("#")
        target = page if not name else (page.parent / name).resolve()
        assert target.exists() and target.is_relative_to(ROOT), link
        if part:
            headings = re.findall(r"^#+ (.+)$", prose(target.read_text()), re.MULTILINE)
            assert part in map(anchor, headings), link


def test_every_page_is_in_the_readme() -> None:
    linked = {Path(link).name for link in links(ROOT / "README.md") if link.startswith("docs/")}
    assert {page.name for page in PAGES} - {"README.md"} <= {name.split("#")[0] for name in linked}


@pytest.mark.parametrize("block", blocks("sh", "python"), ids=str)
def test_options_in_examples_exist(block: Block) -> None:
    if block.language == "python":
        ast.parse(block.text)
        return
    for line in block.text.splitlines():
        words = " ".join(shlex.split(line, comments=True))
        known = [name for name in programs() if name in words]
        assert known or words.startswith("make "), line
        for name in known:
            arguments = words.split(name, 1)[1].split()
            used = {word.split("=")[0] for word in arguments if word.startswith("-")}
            command = arguments[0] if name == "indextts-client" else None
            assert used - {"-"} <= options(programs()[name], command), line


@pytest.mark.parametrize(
    "target", sorted(set(re.findall(r"(?:^|`|cpu )make ([a-z]+)", read("README.md"), re.MULTILINE)))
)
def test_make_targets_exist(target: str) -> None:
    assert re.search(rf"^{target}:", read("Makefile"), re.MULTILINE)


@pytest.mark.parametrize(
    ("page", "heading", "app"),
    [("docs/client.md", "Client", client.commands.app)],
)
def test_option_tables_are_complete(page: str, heading: str, app: typer.Typer) -> None:
    named = {flag for row in rows(page, heading) for flag in code(row[0]) if flag[0] == "-"}
    assert named == options(app)


def test_settings_table() -> None:
    shown = rows("docs/configuration.md", "Settings")
    table = {code(name)[0]: default for name, default, _ in shown}
    own = {key: setting for key, setting in SETTINGS.items() if "." not in key}
    assert set(table) == set(own)
    for key, setting in own.items():
        value = str(setting.default)
        value = value.lower() if setting.kind is bool else value
        assert code(table[key]) == ([] if setting.default in (None, "", ()) else [value]), key


def test_metrics_table(tmp_path: Path) -> None:
    named = {name for row in rows("docs/operations.md", "Metrics") for name in code(row[0])}
    families = make_room(tmp_path).service.metrics.registry.collect()
    known = {f"{one.name}{'_total' * (one.type == 'counter')}" for one in families}
    assert named == {name for name in known if name.startswith("indextts_")}


def test_error_table() -> None:
    table = {
        code(name)[0]: (int(status), int(close) if close else None)
        for name, status, close, _ in rows("docs/server.md", "Errors")
    }
    assert table == {name: (answer.status, answer.close) for name, answer in ANSWERS.items()}


def test_limit_table() -> None:
    table = {code(name)[0]: float(value) for name, value, _ in rows("docs/server.md", "Limits")}
    assert table == {k: float(v) for k, v in dataclasses.asdict(Limits()).items()}


def test_route_table(tmp_path: Path) -> None:
    room = make_room(tmp_path)
    app = create_app(room.service, room.service.settings)
    named = {
        route.split()[-1] for row in rows("docs/server.md", "Routes") for route in code(row[0])
    }
    assert named == {getattr(route, "path", None) for route in app.routes}


def test_field_table() -> None:
    named: set[str] = set()
    for name, *_ in rows("docs/protocol.md", "Fields"):
        named |= set(code(name))
    assert {name.split(".")[0] for name in named} == set(FIELDS)
    for name in sorted(named):
        group, _, key = name.rpartition(".")
        raw = {group: {key: object()}} if group else {name: object()}
        with pytest.raises(InputError) as caught:
            FIELDS[group or name](group or name, raw[group] if group else raw[name])
        assert caught.value.param == name


def test_inference_table() -> None:
    shown: dict[str, str] = {}
    for names, defaults, *_ in rows("docs/checkpoints.md", "config.yaml"):
        values = defaults.split(", ") if len(code(names)) > 1 else [defaults]
        if len(code(names)) == len(values):
            shown |= dict(zip(code(names), values, strict=True))

    def written(value: object) -> str:
        return ", ".join(value) if isinstance(value, tuple) else str(value).lower()

    actual = {name: written(value) for name, value in InferenceConfig().model_dump().items()}
    assert {name: shown.get(name) for name in actual} == actual


@pytest.mark.parametrize("row", list(rows("docs/text.md", "Rule sets")), ids=lambda row: row[0])
def test_mended_defects(row: tuple[str, ...]) -> None:
    written, reference, ours = (code(cell)[0] for cell in row)
    assert Normalizer("vllm").normalize(written) == reference
    assert Normalizer().normalize(written) == ours


def test_training_stages() -> None:
    named = {code(row[0])[0] for row in rows("docs/training.md", "Training nano")}
    assert named == {*STEPS, "export"}


def test_every_module_is_on_the_map() -> None:
    page = read("docs/architecture.md")
    for package in PACKAGES:
        start = page.index(f"| `{package}/` |")
        section = page[start : page.index("\n\n", start)]
        named = set(re.findall(r"`(\w+\.py)`", section))
        files = {path.name for path in (ROOT / package).rglob("*.py")} - {"__init__.py"}
        assert named == files, package


def test_paths_in_prose_exist() -> None:
    for page in PAGES:
        for path in re.findall(r"`((?:[\w-]+/)+[\w-]+\.(?:py|txt|md|cpp))`", page.read_text()):
            assert (ROOT / path).exists(), f"{page.name}: {path}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_name_no_machine(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(?<!\w)/(work|tmp|home|root|opt|Users)/", text)
    hosts = re.findall(r"https?://([\w.-]+)", text)
    assert {host for host in hosts if not host.endswith(".example")} <= {
        "127.0.0.1",
        "download.pytorch.org",
    }


def test_message_examples_decode() -> None:
    lines = [
        line for b in blocks("json") if b.page == "protocol.md" for line in b.text.splitlines()
    ]
    assert len(lines) > 10
    for line in lines:
        kind = json.loads(line)["type"]
        client_side = kind.startswith(("session.config", "input.")) or kind == "ping"
        message = decode_client(line) if client_side else decode_server(line)
        assert message.type == kind
        known = {spec.name for spec in dataclasses.fields(message)} | {"type", *FIELDS}
        assert json.loads(line).keys() <= known


def test_the_speaker_file_is_a_catalog(tmp_path: Path) -> None:
    [block] = [b for b in blocks("json") if b.page == "README.md"]
    entries = json.loads(block.text)
    names = [*entries["anna"], *entries["bert"]["recordings"]]
    for seed, name in enumerate(names):
        (tmp_path / name).write_bytes(noise(1.5, seed=seed))
    (tmp_path / "speaker.json").write_text(block.text)
    catalog = load_catalog(tmp_path / "speaker.json")
    assert catalog.default.name == catalog.resolve("alloy").name == "anna"
    assert catalog.resolve("onyx").name == "bert"
