"""Tokenizers and golden cases of the text front end."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from indextts.text.tokenizer import Tokenizer

ROOT = Path(__file__).parents[3]
GOLDENS = ROOT / "tests/goldens/frontend/goldens.json"

Case = dict[str, Any]


def train(sentences: Sequence[str], *, model_type: str, size: int) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        model_type=model_type,
        vocab_size=size,
        hard_vocab_limit=False,
        bos_id=0,
        eos_id=1,
        unk_id=2,
        pad_id=-1,
        minloglevel=2,
    )
    return model.getvalue()


@pytest.fixture(scope="session")
def goldens() -> Path:
    return GOLDENS


@pytest.fixture(scope="session")
def cases() -> list[Case]:
    found: list[Case] = json.loads(GOLDENS.read_text(encoding="utf-8"))["cases"]
    return found


@pytest.fixture(scope="session")
def tiny_model(cases: list[Case]) -> bytes:
    """Upper-case pieces of the golden texts, such as a real checkpoint has."""
    return train([case["text"].upper() for case in cases], model_type="unigram", size=1500)


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_model: bytes) -> Tokenizer:
    return Tokenizer(tiny_model)


@pytest.fixture(scope="session")
def character_tokenizer() -> Tokenizer:
    """Lower-case letters only, such as the embedded checkpoint may have."""
    sentences = ["the quick brown fox jumps over the lazy dog.", "what? no, it's wait - go!"]
    return Tokenizer(train(sentences, model_type="char", size=60))


@pytest.fixture(scope="session")
def official_model() -> Path:
    folder = os.environ.get("INDEXTTS_OFFICIAL_DIR")
    default = ROOT.parent / "shared/reference/indextts2/official"
    path = (Path(folder) if folder else default) / "bpe.model"
    if not path.is_file():
        pytest.skip("no official bpe.model; set INDEXTTS_OFFICIAL_DIR")
    return path


@pytest.fixture(scope="session")
def official_tokenizer(official_model: Path) -> Tokenizer:
    return Tokenizer(official_model)
