"""The front end in its own process answers like the one here and survives its death."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from indextts.text.frontend import TextFrontend
from indextts.text.normalizer import Normalizer
from indextts.text.process import FrontendProcess
from indextts.text.tokenizer import Tokenizer
from streaming.errors import EngineFailed, InvalidText
from tests.indextts.tiny_checkpoint import write_shared


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tokenizer")
    write_shared(root)
    return root / "bpe.model"


@pytest.fixture(scope="module")
def process(model: Path) -> Iterator[FrontendProcess]:
    made = FrontendProcess(model)
    yield made
    made.close()


@pytest.mark.parametrize("text", ["The 2 quick foxes.", "", "我有3只狐狸。", "... !"])
def test_it_answers_like_the_front_end_itself(
    process: FrontendProcess, model: Path, text: str
) -> None:
    here = TextFrontend(Normalizer(), Tokenizer(model))
    assert process.prepare(text, max_tokens=40) == here.prepare(text, max_tokens=40)
    assert process.estimate_tokens(text) == here.estimate_tokens(text)


def test_invalid_text_is_refused_by_name(process: FrontendProcess) -> None:
    with pytest.raises(InvalidText, match="surrogate"):
        process.prepare("a\ud800b", max_tokens=40)
    assert process.prepare("Fox.", max_tokens=40)


def test_a_long_text_does_not_hold_this_interpreter(process: FrontendProcess) -> None:
    process.prepare("Warm.", max_tokens=40)
    text = "It costs 1234567 dollars and 89 cents, " * 40
    reader = threading.Thread(target=process.prepare, args=(text,), kwargs={"max_tokens": 40})
    longest_s, began_s = 0.0, time.perf_counter()
    reader.start()
    while reader.is_alive():
        before_s = time.perf_counter()
        time.sleep(0.001)
        longest_s = max(longest_s, time.perf_counter() - before_s)
    took_s = time.perf_counter() - began_s
    assert took_s > 0.05, "the text is too short to show anything"
    assert longest_s < 0.8 * took_s


def test_a_dead_process_fails_once_and_comes_back(model: Path) -> None:
    process = FrontendProcess(model)
    try:
        assert process.prepare("Fox.", max_tokens=40)
        assert process._child is not None
        process._child.kill()
        process._child.wait()
        with pytest.raises(EngineFailed):
            process.prepare("Dog.", max_tokens=40)
        assert process.prepare("Dog.", max_tokens=40)
    finally:
        process.close()
