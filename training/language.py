"""Stage ``language``: the GPT learns which codes a text is spoken with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from indextts.gpt.backbone import attend_causally
from indextts.gpt.model import EmotiveGpt
from indextts.gpt.prompt import build_prompt
from indextts.tensors import Features
from indextts.v2.config import CheckpointConfig
from indextts.v2.gpt import build_gpt
from training.corpus import Line, frame_phones
from training.optim import split_optimizers
from training.text import Pieces

GUIDED_LAYER, GUIDED_HEADS = 2, 2
"""Heads that are taught to look at the word being spoken."""
GUIDANCE = 0.3
TEMPO, TEMPO_OF_PHONES = 0.1, 0.2
"""Standard deviations of the logarithm of durations, of a text and of a phone."""
LONGEST = 76
"""Pieces of the longest text; a chunk of a request must not be longer."""
NOISE = 0.08
"""Share of past codes replaced by random ones, so that mistakes do not derail the next code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A text in pieces and its phones, with the word that each of them belongs to."""

    text: NDArray[np.int64]
    text_words: NDArray[np.int64]
    phones: NDArray[np.int64]
    phone_words: NDArray[np.int64]
    durations: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """An item at one tempo: its codes and the word that each of them belongs to."""

    item: Item
    codes: NDArray[np.int64]
    words: NDArray[np.int64]


def speak_item(item: Item, rng: np.random.Generator) -> Spoken:
    """The item with its durations varied.

    The teacher's own never vary, so that a model could tell its place in the text from the time
    alone, and would lose it as soon as its own durations differ.
    """
    variation = rng.normal(rng.normal(0.0, TEMPO), TEMPO_OF_PHONES, len(item.durations))
    index, half = frame_phones(item.durations * np.exp(variation))
    return Spoken(item=item, codes=item.phones[index] * 2 + half, words=item.phone_words[index])


def space_phone(lines: Sequence[Line]) -> int:
    """The phone number of the space between words; raises ``ValueError`` when no line has one."""
    for line in lines:
        if " " in line.symbols and len(line.phones) == len(line.symbols) + 2:
            return line.phones[1 + line.symbols.index(" ")]
    raise ValueError("no line with two words")


def make_items(lines: Sequence[Line], pieces: Pieces) -> list[Item]:
    """The items of all lines whose words can be matched with their phones."""
    space = space_phone(lines)
    made = (make_item(line, pieces, space) for line in lines)
    return [item for item in made if item is not None]


def make_item(line: Line, pieces: Pieces, space: int) -> Item | None:
    """The item of a corpus line, or ``None`` when its words cannot be matched with its phones'."""
    ids = pieces.ids(line.text)
    if 2 in ids or len(ids) > LONGEST or len(line.text.split()) != len(line.symbols.split()):
        return None
    return Item(
        text=np.asarray(ids),
        text_words=np.asarray(pieces.words(ids)),
        phones=np.asarray(line.phones),
        phone_words=np.cumsum([phone == space for phone in line.phones]),
        durations=np.asarray(line.durations, np.float64),
    )


class Batches:
    """Batches of items with equally many pieces."""

    def __init__(self, items: Sequence[Item], *, positions: int) -> None:
        self._items, self._positions = items, positions
        groups: dict[int, list[int]] = defaultdict(list)
        for index, item in enumerate(items):
            groups[len(item.text)].append(index)
        self._groups = [np.array(group) for group in groups.values() if len(group) >= 2]
        weights = np.array([len(g) * len(items[g[0]].text) for g in self._groups], float)
        self._weights = weights / weights.sum()
        self.rng = np.random.default_rng()

    def draw(self) -> list[Spoken]:
        """One batch of about ``positions`` positions."""
        group = self._groups[self.rng.choice(len(self._groups), p=self._weights)]
        pieces = len(self._items[group[0]].text)
        rows = max(2, min(len(group), self._positions // (40 + 5 * pieces)))
        chosen = self.rng.choice(group, rows, replace=False)
        return [speak_item(self._items[i], self.rng) for i in chosen]


class LanguageTask:
    """Next-code prediction with guided attention (Tachibana et al., 2018) and noisy histories."""

    def __init__(
        self,
        config: CheckpointConfig,
        items: Sequence[Item],
        references: Sequence[Tensor],
        *,
        positions: int = 5000,
    ) -> None:
        self.gpt: EmotiveGpt = build_gpt(config.gpt, config.conditioning_input)
        self.module: nn.Module = self.gpt
        self._initialise()
        self.optimizers = split_optimizers(
            self.module,
            matrix=lambda name, p: p.ndim == 2 and name.startswith("gpt.h."),
            muon_lr=6e-3,
            adam_lr=3e-3,
        )
        self._batches, self._references = Batches(items, positions=positions), references

    @torch.no_grad()
    def _initialise(self) -> None:
        """Small tables; no emotion: its last layer is zero and stays so."""
        for name, p in self.gpt.named_parameters():
            if p.ndim == 2 and ("embedding" in name or name.startswith(("gpt.h", "mel_head"))):
                nn.init.normal_(p, std=0.02)
        for p in self.gpt.emo_layer.parameters():
            p.zero_()
        for name, p in self.gpt.named_parameters():
            if name.startswith(("emo", "emovec_layer")):
                p.requires_grad_(False)

    def loss(self, progress: float) -> tuple[Tensor, Mapping[str, float]]:
        """Cross-entropy of codes plus the guidance, which fades out."""
        batch = self._batches.draw()
        sizes = self.gpt.sizes
        rows, most = len(batch), max(len(spoken.codes) for spoken in batch)
        history = np.full((rows, most + 1), sizes.start_code)
        target = np.full((rows, most + 1), -100)
        for row, spoken in enumerate(batch):
            count = len(spoken.codes)
            history[row, 1 : count + 1] = spoken.codes
            target[row, :count], target[row, count] = spoken.codes, sizes.stop_code
        wanted = torch.from_numpy(target)
        words = self._words(batch, most)
        guide = Guide(words, first_text=len(self.gpt.perceiver_encoder.latents) + 3)
        logits = self._logits(batch, self._noisy(torch.from_numpy(history)), guide)
        valid = wanted != -100
        entropy = F.cross_entropy(logits.transpose(1, 2), wanted, ignore_index=-100)
        guidance = (guide.loss * valid[:, None]).sum() / (GUIDED_HEADS * valid.sum())
        with torch.no_grad():
            right = logits.argmax(-1) == wanted
            previous = torch.from_numpy(history)
            turns = valid & (previous // 2 != wanted // 2)
        figures = {
            "entropy": entropy.item(),
            "right": right[valid].float().mean().item(),
            "turns": right[turns].float().mean().item(),
            "guidance": guidance.item(),
        }
        return entropy + GUIDANCE * max(0.0, 1 - 1.3 * progress) * guidance, figures

    def _logits(self, batch: Sequence[Spoken], history: Tensor, guide: Guide) -> Tensor:
        """Code logits ``[B, S + 1, V]``."""
        rng = self._batches.rng
        reference = self._references[int(rng.integers(0, len(self._references)))]
        with torch.autocast("cpu", torch.bfloat16):
            conds = self.gpt.conditioning(Features(reference[None]))
            text = torch.from_numpy(np.stack([spoken.item.text for spoken in batch]))
            rows = len(batch)
            emotion = conds.new_zeros(rows, self.gpt.sizes.width)
            prompt = build_prompt(self.gpt, conds.expand(rows, -1, -1), emotion, text)
            places = torch.arange(1, history.shape[1])
            past = self.gpt.embed_codes(history[:, 1:], places)
            states = self.gpt(torch.cat((prompt, past), dim=1), guide)
            logits: Tensor = self.gpt.mel_head(states[:, prompt.shape[1] - 1 :])
        return logits.float()

    def _noisy(self, history: Tensor) -> Tensor:
        wrong = torch.rand(history.shape) < NOISE
        wrong[:, 0] = False
        return torch.where(
            wrong, torch.randint(0, self.gpt.sizes.start_code, history.shape), history
        )

    @staticmethod
    def _words(batch: Sequence[Spoken], most: int) -> Tensor:
        """Which pieces, stop included, belong to each code's word: ``[B, S + 1, L + 1]``."""
        length = len(batch[0].item.text)
        words = np.zeros((len(batch), most + 1, length + 1), bool)
        for row, spoken in enumerate(batch):
            count, written = len(spoken.codes), spoken.item.text_words
            words[row, :count, :length] = spoken.words[:, None] == written[None]
            words[row, :count, length] = spoken.words > written[-1]
            words[row, count:, length] = True
        return torch.from_numpy(words)


class Guide:
    """Causal attention that also measures how well the guided heads find their word.

    ``words`` bool ``[B, S + 1, L + 1]``: the last queries are those of the codes, the keys from
    ``first_text`` on those of the text. After a pass ``loss [B, heads, S + 1]`` is set.
    """

    def __init__(self, words: Tensor, *, first_text: int) -> None:
        self._words, self._first = words, first_text
        self.loss = torch.zeros(())

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """``[B, heads, T, head]`` three times -> ``[B, heads, T, head]``."""
        if layer == GUIDED_LAYER:
            codes, texts = self._words.shape[1:]
            asked = query[:, :GUIDED_HEADS, -codes:].float()
            offered = key[:, :GUIDED_HEADS, self._first : self._first + texts].float()
            scores = asked @ offered.transpose(-1, -2) / query.shape[-1] ** 0.5
            shares = scores.log_softmax(-1).masked_fill(~self._words[:, None], -1e4)
            self.loss = -torch.logsumexp(shares, -1)
        return attend_causally(layer, query, key, value)
