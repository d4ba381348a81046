"""Requests made up from ``/openapi.json`` against a real server: nothing but documented answers.

The model is a tone, so that what is tried are the routes. Schemathesis makes the requests: valid
ones and broken ones of every operation.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from tests.fakes import ToneScript
from tests.server.rooms import Room, make_room, serving
from tests.speakers.sounds import noise

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
PHASES = ("coverage", "fuzzing")
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How many requests were made, by how many operations, and how many answers were wrong."""

    operations: int
    cases: int
    failures: int
    told: str

    @property
    def well(self) -> bool:
        """Whether every operation was tried and every answer was documented."""
        return self.operations > 0 and self.cases > 0 and not self.failures


def main(
    examples: Annotated[int, typer.Option(help="Made-up requests per operation.")] = 40,
    seed: Annotated[int, typer.Option(help="Of the requests.")] = 1,
    workers: Annotated[int, typer.Option(help="Requests at once.")] = 2,
) -> None:
    """Try every operation with every edge of its fields, then with made-up requests."""
    verdict = asyncio.run(try_out(PHASES, examples=examples, seed=seed, workers=workers))
    print(verdict.told)
    print(f"{verdict.operations} operations, {verdict.cases} cases, {verdict.failures} failures")
    raise typer.Exit(0 if verdict.well else 1)


async def try_out(
    phases: tuple[str, ...], *, examples: int, seed: int, workers: int = 1
) -> Verdict:
    """Start a server, let Schemathesis at it in a process of its own, and read its report."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with serving(_room(folder)) as room:
            options = [
                f"--phases={','.join(phases)}",
                f"--checks={','.join(CHECKS)}",
                f"--max-examples={examples}",
                f"--seed={seed}",
                f"--workers={workers}",
            ]
            told = await _schemathesis(room.url, options, folder)
        report = json.loads((folder / "report.json").read_text())
    return Verdict(
        operations=report["operations"]["tested"],
        cases=report["test_cases"]["generated"],
        failures=report["test_cases"]["with_failures"] + len(report["errors"]),
        told=told,
    )


def _room(folder: Path) -> Room:
    """Voices to add and recordings by path are on, so that their routes are tried, too."""
    recordings = folder / "recordings"
    recordings.mkdir()
    (recordings / "anna.wav").write_bytes(noise(1.5, seed=5))
    return make_room(
        folder,
        ToneScript(characters_per_second=2_000.0),
        reference_dirs=(recordings,),
        voices_dir=folder / "voices",
    )


async def _schemathesis(url: str, options: list[str], folder: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", *options),
        *("--no-shrink", "--continue-on-failure", "--warnings=off", "--no-color"),
        *("--report=json", f"--report-json-path={folder / 'report.json'}"),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "bench.schema_hooks"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await process.communicate()
    return told.decode()


if __name__ == "__main__":
    typer.run(main)
