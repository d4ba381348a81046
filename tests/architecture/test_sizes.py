"""Nothing grows past what one can read in a sitting."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("streaming", "speakers", "indextts", "server", "client", "training", "bench")
FILE_LINES, BODY_LINES, CLASS_LINES, PARAMETERS = 400, 40, 200, 6
FORBIDDEN_FOLDERS = {"utils", "util", "helpers", "common", "misc"}


def sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def positional_parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    names = [a.arg for a in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]]
    if node.name == "__init__":  # keyword-only constructor arguments do not count
        names = [a.arg for a in [*node.args.posonlyargs, *node.args.args]]
    return len([name for name in names if name not in ("self", "cls")])


def is_command(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Command-line functions take one parameter per option."""
    decorators = [ast.unparse(d) for d in node.decorator_list]
    return any(".command" in d or ".callback" in d for d in decorators)


def findings(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    name = path.relative_to(ROOT)
    if (lines := text.count("\n")) > FILE_LINES:
        yield f"{name}: {lines} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            if (lines := (node.end_lineno or 0) - node.lineno + 1) > CLASS_LINES:
                yield f"{name}: class {node.name} has {lines} lines"
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if (lines := body_lines(node)) > BODY_LINES:
                yield f"{name}: {node.name} has a body of {lines} lines"
            if (count := positional_parameters(node)) > PARAMETERS and not is_command(node):
                yield f"{name}: {node.name} takes {count} parameters"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_file_class_function_and_signature_stay_small(path: Path) -> None:
    assert list(findings(path)) == []


def test_the_rule_finds_what_it_forbids(tmp_path: Path) -> None:
    body = "\n".join(f"    x{i} = {i}" for i in range(BODY_LINES + 1))
    path = ROOT / "streaming" / "speech.py"
    tree = ast.parse(f"def long():\n{body}\ndef many(a, b, c, d, e, f, g):\n    pass\n")
    long, many = tree.body
    assert isinstance(long, ast.FunctionDef) and isinstance(many, ast.FunctionDef)
    assert body_lines(long) > BODY_LINES
    assert positional_parameters(many) > PARAMETERS
    assert list(findings(path)) == []


def test_no_drawer_for_odds_and_ends() -> None:
    folders = {part for path in sources() for part in path.relative_to(ROOT).parts[:-1]}
    assert not folders & FORBIDDEN_FOLDERS
