"""Emotion control: vectors, matrix rows and a classifier of texts (specification 9)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from indextts.checkpoint import CheckpointError
from streaming.errors import BadConfig
from streaming.request import EMOTIONS

EmotionVector: TypeAlias = tuple[float, ...]
"""Eight weights in the order of ``streaming.request.EMOTIONS``."""

NEUTRAL: EmotionVector = (0.0,) * 7 + (1.0,)
MAX_VALUE = 1.5
MAX_SUM = 1.5

_BIAS = (0.9375, 0.875, 1.0, 1.0, 0.9375, 0.9375, 0.6875, 0.5625)
_NORMAL_SUM = 0.8
_STEPS = 10_000


def shape_vector(
    values: Sequence[float], *, weight: float = 1.0, normalize: bool = False
) -> EmotionVector:
    """A caller's vector as the weights that are mixed.

    Each value is clamped to 0..1.5 and a sum above 1.5 is scaled down to it, because what the
    vector takes above 1 is subtracted from the recording's own emotion. ``normalize`` first does
    what upstream's web page does: a bias per emotion, and a sum of at most 0.8. ``weight``
    (clamped to 0..1) then scales all, rounded towards zero to four digits as upstream does.
    Raises ``BadConfig``.
    """
    if len(values) != len(EMOTIONS):
        raise BadConfig(f"an emotion vector has {len(EMOTIONS)} values", param="emotion.vector")
    if not all(math.isfinite(value) for value in (*values, weight)):
        raise BadConfig("an emotion vector holds numbers", param="emotion.vector")
    shaped = [min(max(float(value), 0.0), MAX_VALUE) for value in values]
    if normalize:
        shaped = [value * bias for value, bias in zip(shaped, _BIAS, strict=True)]
    shaped = _cap(shaped, _NORMAL_SUM if normalize else MAX_SUM)
    scale = min(max(weight, 0.0), 1.0)
    if scale != 1.0:
        shaped = [math.trunc(value * scale * _STEPS) / _STEPS for value in shaped]
    return tuple(shaped)


def _cap(values: list[float], top: float) -> list[float]:
    """Scale ``values`` down to a sum of ``top``."""
    scale = top / max(sum(values), top)
    return [value * scale for value in values]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmotionMatrices:
    """Rows of known speakers with the emotion each of them spoke in, grouped by emotion.

    ``speakers`` ``[N, 192]`` are speaker vectors, ``emotions`` ``[N, D]`` emotion vectors and
    ``counts`` the rows of each of the eight groups.
    """

    speakers: Tensor
    emotions: Tensor
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        rows = sum(self.counts)
        if len(self.counts) != len(EMOTIONS) or min(self.counts) < 1:
            raise ValueError(f"emo_num must hold {len(EMOTIONS)} positive numbers")
        if self.speakers.shape[0] != rows or self.emotions.shape[0] != rows:
            raise ValueError(f"the emotion matrices must have {rows} rows, as emo_num says")

    def nearest(self, style: Tensor) -> Tensor:
        """The row of each group most like the speaker: ``[B, 192]`` -> int64 ``[B, 8]``."""
        groups = torch.split(self.speakers.to(style), list(self.counts))
        likeness = [F.cosine_similarity(style[:, None], group[None], dim=-1) for group in groups]
        return torch.stack([row.argmax(-1) for row in likeness], dim=1)

    def random(self, batch: int, generator: torch.Generator) -> Tensor:
        """A uniformly drawn row of each group, int64 ``[batch, 8]``."""
        draws = [torch.randint(count, (batch,), generator=generator) for count in self.counts]
        return torch.stack(draws, dim=1)

    def mix(self, rows: Tensor, weights: Tensor) -> Tensor:
        """Weighted sum of the chosen rows: ``[B, 8]`` twice -> ``[B, D]``."""
        starts = torch.tensor((0, *self.counts[:-1])).cumsum(0).to(rows.device)
        chosen = self.emotions.to(weights)[(rows + starts).to(weights.device)]
        return (weights[..., None] * chosen).sum(1)

    def blend(self, rows: Tensor, weights: Tensor, audio: Tensor) -> Tensor:
        """The mix, and of ``audio`` ``[B, D]`` what the weights leave over: ``[B, D]``."""
        return self.mix(rows, weights) + (1 - weights.sum(1, keepdim=True)) * audio


_CHINESE = ("高兴", "愤怒", "悲伤", "恐惧", "反感", "低落", "惊讶", "自然")
_INDEX = {name: i for names in (_CHINESE, EMOTIONS) for i, name in enumerate(names)}
_LABEL_FIELDS = ("emotion", "emotion_label", "label", "情感", "情绪")
_LOW_WORDS = ("低落", "melancholy", "melancholic", "depression", "depressed", "gloomy")
_MAX_ANSWER_VALUE = 1.2
_MAX_ANSWER_CHARS = 4096
_PAIR = re.compile(
    r"[\"'“]?(" + "|".join(_INDEX) + r")[\"'”]?\s*[:：=]\s*[\"']?([-+]?(?:\d+\.?\d*|\.\d+))"
)


def parse_answer(answer: str, text: str) -> EmotionVector:
    """The vector in the classifier's ``answer`` about ``text``; neutral where there is none.

    Takes a JSON object, loose ``key: number`` pairs, or a label. Values are clamped to 0..1.2.
    The classifier calls low spirits sad, so a text that names them has the two swapped.
    """
    content = answer.rpartition("</think>")[2].strip()[:_MAX_ANSWER_CHARS]
    try:
        found = _values(content)
        numbers = {_INDEX[key]: float(value) for key, value in found.items() if key in _INDEX}
    except (TypeError, ValueError, OverflowError, RecursionError):
        return NEUTRAL
    if not all(math.isfinite(number) for number in numbers.values()):
        return NEUTRAL
    vector = [min(max(numbers.get(i, 0.0), 0.0), _MAX_ANSWER_VALUE) for i in range(len(EMOTIONS))]
    if any(word in text.lower() for word in _LOW_WORDS):
        sad, low = _INDEX["悲伤"], _INDEX["低落"]
        vector[sad], vector[low] = vector[low], vector[sad]
    return tuple(vector) if max(vector) > 0 else NEUTRAL


def _values(content: str) -> Mapping[str, Any]:
    """Names and values in an answer, nothing checked."""
    try:
        data = json.loads(content)
    except json.JSONDecodeError:
        pairs = dict(_PAIR.findall(content))
        data = pairs or content
    if isinstance(data, dict):
        labels = [data[field] for field in _LABEL_FIELDS if isinstance(data.get(field), str)]
        return {**{label.strip(): 1.0 for label in labels}, **data}
    return {data.strip(): 1.0} if isinstance(data, str) else {}


class QwenEmotion:
    """Classifies the emotion of a text with the language model of the checkpoint.

    Greedy, so that the same text always gives the same vector; blocking, so call it off the
    event loop.
    """

    MAX_TEXT_CHARS = 1000
    MAX_NEW_TOKENS = 128
    _SYSTEM = "文本情感分类"
    _MARKUP = re.compile(r"<\|[^|<>]*\|>|</?think>")

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model = model
        self._tokenizer = tokenizer
        # Every chunk of a request asks for the same text.
        self._known = lru_cache(maxsize=64)(lambda text: parse_answer(self.answer(text), text))

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> QwenEmotion:
        """Read a Hugging Face folder, never the network; raises ``CheckpointError``."""
        # transformers takes seconds to import: only who wants emotion from text pays for it.
        from transformers import AutoModelForCausalLM, AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder} holds no emotion classifier: {error}") from None
        return cls(model.float().eval().to(device), tokenizer)

    def classify(self, text: str) -> EmotionVector:
        """The vector of ``text``."""
        return self._known(text)

    def answer(self, text: str) -> str:
        """What the model says of the first 1000 characters, at most 128 tokens."""
        kept = self._MARKUP.sub(" ", text[: self.MAX_TEXT_CHARS])
        messages = [
            {"role": "system", "content": self._SYSTEM},
            # Markup in the text would end the user's turn and speak for the model.
            {"role": "user", "content": kept},
        ]
        inputs = self._tokenizer.apply_chat_template(
            messages,
            add_generation_prompt=True,
            enable_thinking=False,
            return_tensors="pt",
            return_dict=True,
        ).to(self._model.device)
        with torch.no_grad():
            ids = self._model.generate(**inputs, generation_config=self._generation())
        said = ids[0, inputs["input_ids"].shape[1] :]
        return str(self._tokenizer.decode(said, skip_special_tokens=True))

    def _generation(self) -> Any:
        from transformers import GenerationConfig

        stop = self._model.generation_config.eos_token_id
        return GenerationConfig(
            do_sample=False,
            max_new_tokens=self.MAX_NEW_TOKENS,
            eos_token_id=stop,
            pad_token_id=stop[0] if isinstance(stop, list) else stop,
        )
