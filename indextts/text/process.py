"""The front end in a process of its own.

The grammars hold the interpreter lock for a whole call, up to some hundred milliseconds for a long
sentence; in the server's process that would stall every stream, even from a thread.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from threading import Lock

from indextts.text.frontend import Segment, TextFrontend
from indextts.text.language import Language, RuleSet
from indextts.text.normalizer import Normalizer
from indextts.text.tokenizer import Tokenizer
from streaming.errors import EngineFailed, InvalidText

_frontend: TextFrontend | None = None
"""The child's front end; always ``None`` in the parent."""


class FrontendProcess:
    """``TextFrontend.prepare`` somewhere else; a process that died is replaced at the next call.

    ``fold_unknown`` lets a small vocabulary read accented letters as plain ones.
    """

    def __init__(
        self, tokenizer_model: Path, *, rules: RuleSet = "default", fold_unknown: bool = False
    ) -> None:
        self._arguments = (tokenizer_model, rules, fold_unknown)
        self._local = _make(*self._arguments)
        self._lock = Lock()
        self._pool: ProcessPoolExecutor | None = None

    def estimate_tokens(self, text: str, language: Language | None = None) -> int:
        """As ``TextFrontend.estimate_tokens``, in this process: no grammar runs."""
        return self._local.estimate_tokens(text, language)

    def prepare(
        self, text: str, *, max_tokens: int, language: Language | None = None
    ) -> tuple[Segment, ...]:
        """As ``TextFrontend.prepare``; blocking, from any thread.

        Raises ``InvalidText``, and ``EngineFailed`` when the process dies over this text.
        """
        pool = self._running()
        try:
            result = pool.submit(_prepare, text, max_tokens, language).result()
        except BrokenProcessPool:
            self._drop(pool)
            raise EngineFailed("the text front end died; it is being restarted") from None
        if isinstance(result, str):
            raise InvalidText(result, param="text")
        return result

    def close(self) -> None:
        """End the process."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)

    def _running(self) -> ProcessPoolExecutor:
        with self._lock:
            if self._pool is None:
                # spawn: a fork would copy the locks of torch's threads.
                self._pool = ProcessPoolExecutor(
                    1,
                    mp_context=multiprocessing.get_context("spawn"),
                    initializer=_start,
                    initargs=self._arguments,
                )
            return self._pool

    def _drop(self, pool: ProcessPoolExecutor) -> None:
        with self._lock:
            if self._pool is pool:
                self._pool = None
        pool.shutdown(wait=False)


def _make(tokenizer_model: Path, rules: RuleSet, fold_unknown: bool) -> TextFrontend:
    return TextFrontend(Normalizer(rules), Tokenizer(tokenizer_model, fold_unknown=fold_unknown))


def _start(tokenizer_model: Path, rules: RuleSet, fold_unknown: bool) -> None:
    """Set up the child and load both grammars, so that the first text does not wait for them."""
    global _frontend
    _frontend = _make(tokenizer_model, rules, fold_unknown)
    for warm in ("One.", "一。"):
        _frontend.prepare(warm, max_tokens=100)


def _prepare(text: str, max_tokens: int, language: Language | None) -> tuple[Segment, ...] | str:
    """Segments, or why the text is invalid: our errors do not travel well between processes."""
    assert _frontend is not None
    try:
        return _frontend.prepare(text, max_tokens=max_tokens, language=language)
    except InvalidText as error:
        return error.message
