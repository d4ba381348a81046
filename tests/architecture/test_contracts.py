"""Who may import whom, and what importing costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    ["import streaming.pipeline", "import streaming.session", "import speakers.voices"],
)
def test_the_lower_layers_need_neither_torch_nor_sockets(statement: str) -> None:
    loaded = modules_after(statement)
    assert not loaded & {"torch", "starlette", "uvicorn", "websockets", "httpx", "transformers"}


def test_importing_streaming_imports_nothing_of_it() -> None:
    loaded = modules_after("import streaming")
    assert not {name for name in loaded if name.startswith("streaming.")}


def test_the_client_needs_no_model_library() -> None:
    loaded = modules_after("import client.cli")
    assert not loaded & {"torch", "starlette", "uvicorn", "transformers", "indextts", "server"}
