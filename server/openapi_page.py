"""An OpenAPI document as a page for people; no script, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from string import Template
from typing import Any

_PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
code, .path { font-family: ui-monospace, monospace }
summary { cursor: pointer; padding: .3rem 0 }
.method { display: inline-block; width: 4.5rem; font-weight: 600 }
.about { color: #666 }
table { border-collapse: collapse; margin: .5rem 0 1rem 1rem }
td { border-top: 1px solid #ddd; padding: .2rem .8rem .2rem 0; vertical-align: top }
</style>
<h1>$title $version</h1>
<p>$description <a href="openapi.json">openapi.json</a></p>
$operations
</html>
""")


def render(document: Mapping[str, Any]) -> str:
    """The page: every operation with its fields and answers."""
    info = document["info"]
    operations = [
        _operation(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return _PAGE.substitute(
        title=escape(info["title"]),
        version=escape(info["version"]),
        description=escape(info["description"]),
        operations="\n".join(operations),
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    fields = [
        (one["name"], f"{one['in']}, {_kind(one['schema'])}") for one in operation["parameters"]
    ]
    for media in operation.get("requestBody", {}).get("content", {}).values():
        fields += _fields("", media["schema"])
    answers = [
        (status, f"{answer['description']}: {', '.join(answer['content']) or 'no body'}")
        for status, answer in operation["responses"].items()
    ]
    return (
        f'<details><summary><span class="method">{method.upper()}</span>'
        f'<span class="path">{escape(path)}</span> '
        f'<span class="about">{escape(operation["summary"])}</span></summary>'
        f"{_table(fields)}{_table(answers)}</details>"
    )


def _fields(prefix: str, schema: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names with dots for the fields of fields."""
    for name, inner in schema.get("properties", {}).items():
        due = ", required" if name in schema.get("required", ()) else ""
        yield prefix + name, _kind(inner) + due
        yield from _fields(f"{prefix}{name}.", inner)


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "enum" in schema:
        return ", ".join(str(value) for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    words = [str(schema.get("type", "any"))]
    low = schema.get("minimum", schema.get("exclusiveMinimum", schema.get("minLength")))
    high = schema.get("maximum", schema.get("maxLength"))
    if low is not None and high is not None:
        words.append(f"{low} to {high}")
    return " ".join(words)


def _table(rows: list[tuple[str, str]]) -> str:
    cells = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(text)}</td></tr>"
        for name, text in rows
    )
    return f"<table>{cells}</table>"
