"""The front end in a process of its own.

The grammars hold the interpreter lock for a whole call, up to some hundred milliseconds for a long
sentence; in the server's process that would stall every stream, even from a thread. The two
processes exchange JSON lines; the child ends when its input does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import Any, get_args

from indextts.text.frontend import Segment, TextFrontend
from indextts.text.language import Language, RuleSet
from indextts.text.normalizer import Normalizer
from indextts.text.tokenizer import Tokenizer
from streaming.errors import EngineFailed, InvalidText

_END_S = 5.0


class FrontendProcess:
    """``TextFrontend.prepare`` somewhere else; a process that died is replaced at the next call.

    ``fold_unknown`` lets a small vocabulary read accented letters as plain ones.
    """

    def __init__(
        self, tokenizer_model: Path, *, rules: RuleSet = "default", fold_unknown: bool = False
    ) -> None:
        self._arguments = [str(tokenizer_model), rules, "fold" if fold_unknown else "keep"]
        self._local = _make(*self._arguments)
        self._lock = Lock()
        self._child: subprocess.Popen[str] | None = None

    def estimate_tokens(self, text: str, language: Language | None = None) -> int:
        """As ``TextFrontend.estimate_tokens``, in this process: no grammar runs."""
        return self._local.estimate_tokens(text, language)

    def start(self) -> None:
        """Have the grammars loaded before the first text comes; blocking."""
        self.prepare("One.", max_tokens=100)
        self.prepare("一。", max_tokens=100)

    def prepare(
        self,
        text: str,
        *,
        max_tokens: int,
        glossary: Mapping[str, str] | None = None,
        language: Language | None = None,
    ) -> tuple[Segment, ...]:
        """As ``TextFrontend.prepare``; blocking, from any thread, one text at a time.

        Raises ``InvalidText``, and ``EngineFailed`` when the process dies over this text.
        """
        asked = {"max_tokens": max_tokens, "glossary": dict(glossary or {}), "language": language}
        question = json.dumps({"text": text, **asked})
        with self._lock:
            answer = self._ask(question)
        if "invalid" in answer:
            raise InvalidText(answer["invalid"], param="text")
        return tuple(_segment(values) for values in answer["segments"])

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._drop()

    def _ask(self, question: str) -> dict[str, Any]:
        child = self._child = self._child or self._spawn()
        assert child.stdin is not None and child.stdout is not None
        try:
            child.stdin.write(f"{question}\n")
            child.stdin.flush()
            answer: dict[str, Any] = json.loads(child.stdout.readline())
        except (OSError, ValueError):  # it is gone: a broken pipe, or an empty answer
            self._drop()
            raise EngineFailed("the text front end died; it is being restarted") from None
        return answer

    def _spawn(self) -> subprocess.Popen[str]:
        root = str(Path(__file__).parents[2])
        paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        return subprocess.Popen(
            [sys.executable, "-m", __name__, *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="ascii",
            env={**os.environ, "PYTHONPATH": paths},
            start_new_session=True,  # Ctrl-C is for the server, which closes us in its own time
        )

    def _drop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        try:
            child.communicate(timeout=_END_S)
        except (OSError, ValueError, subprocess.TimeoutExpired):
            child.wait()


def _make(tokenizer_model: str, rules: str, fold: str) -> TextFrontend:
    known: dict[str, RuleSet] = {name: name for name in get_args(RuleSet)}
    tokenizer = Tokenizer(tokenizer_model, fold_unknown=fold == "fold")
    return TextFrontend(Normalizer(known[rules]), tokenizer)


def _segment(values: dict[str, Any]) -> Segment:
    return Segment(
        text=values["text"],
        normalized_text=values["normalized_text"],
        pieces=tuple(values["pieces"]),
        token_ids=tuple(values["token_ids"]),
        unknown_count=values["unknown_count"],
    )


def _answer(frontend: TextFrontend, question: str) -> dict[str, Any]:
    try:
        segments = frontend.prepare(**json.loads(question))
    except InvalidText as error:
        return {"invalid": error.message}
    return {"segments": [asdict(segment) for segment in segments]}


def _serve(arguments: list[str]) -> None:
    """Answer one line per line until the input ends."""
    tokenizer_model, rules, fold = arguments
    frontend = _make(tokenizer_model, rules, fold)
    for question in sys.stdin:
        sys.stdout.write(f"{json.dumps(_answer(frontend, question))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve(sys.argv[1:])
