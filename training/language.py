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
from indextts.gpt.config import SPEED_ROWS
from indextts.gpt.model import EmotiveGpt
from indextts.gpt.prompt import build_prompt
from indextts.tensors import Features
from indextts.v2.config import CheckpointConfig
from indextts.v2.gpt import build_gpt
from training.corpus import Line, frame_phones, seeded_rng
from training.emotions import HASTE, TEMPI, emotion_rows
from training.optim import split_optimizers
from training.text import Pieces

GUIDED_LAYER, GUIDED_HEADS = 2, 2
"""Heads that are taught to look at the letters being spoken."""
GUIDANCE = 0.6
REACH = 2.5
"""Pieces on either side of the one that is spoken, by its place in the word."""
FORESIGHT = 1.0
"""Weight of knowing at every code which phone will be the next."""
TEMPO, TEMPO_OF_PHONES = 0.1, 0.15
"""Standard deviations of the logarithm of durations, of a text and of a phone."""
LEAD, FINAL, TAIL = 5.0, 8.0, 3.0
"""Longest silence before, last phone, and mark or silence after it, in units of 25 ms."""
LONGEST = 120
"""Pieces of the longest text; a chunk of a request must not be longer."""
NOISE, MISHAP = 0.05, 0.04
"""Shares of past codes that are replaced by random ones, and of past phones from which on some are
replaced by others of the text, so that mistakes and repetitions do not derail what follows."""
HASTY = 0.65
"""Share of hasty batches at the beginning."""
CALM_FROM = 0.7
"""Progress from which on there are none."""
UNHEARD = 0.4
"""How far a voice in training may be from those of the references."""
EMOTIONAL = 0.15
"""Share of the other batches that are spoken with an emotion."""
MARKS = frozenset(".,?!")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A text in pieces and its phones, with the place in the text that each of them belongs to."""

    text: NDArray[np.int64]
    phones: NDArray[np.int64]
    places: NDArray[np.float64]
    """NaN where it is not known."""
    durations: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """An item at one tempo: its codes and the index of the phone that each of them belongs to."""

    item: Item
    codes: NDArray[np.int64]
    index: NDArray[np.int64]

    def misheard(self, rng: np.random.Generator, codes: int) -> NDArray[np.int64]:
        """The codes with some replaced: single ones, and phones by those of another place."""
        phones, count = self.item.phones, len(self.codes)
        heard = phones.copy()
        for first in np.flatnonzero(rng.random(len(phones)) < MISHAP):
            other = int(rng.integers(0, len(phones)))
            wrong = phones[other : other + int(rng.integers(1, 7))]
            heard[first : first + len(wrong)] = wrong[: len(phones) - first]
        past = heard[self.index] * 2 + self.codes % 2
        noisy: NDArray[np.int64] = np.where(
            rng.random(count) < NOISE, rng.integers(0, codes, count), past
        )
        return noisy


def speak_item(item: Item, rng: np.random.Generator, tempo: float = 0.0) -> Spoken:
    """The item with its durations varied; ``tempo`` is the logarithm of how much longer they are.

    The teacher's own never vary, so that a model could tell its place in the text from the time
    alone, and would lose it as soon as its own durations differ.
    """
    variation = rng.normal(rng.normal(tempo, TEMPO), TEMPO_OF_PHONES, len(item.durations))
    index, half = frame_phones(item.durations * np.exp(variation))
    return Spoken(item=item, codes=item.phones[index] * 2 + half, index=index)


def rush_item(item: Item) -> Spoken:
    """The item in as many codes as it has phones.

    Three times as much to learn of spelling as from the same number of natural codes.
    """
    return Spoken(item=item, codes=item.phones * 2, index=np.arange(len(item.phones)))


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
    """The item of a corpus line, or ``None`` when there are no pieces for its text."""
    ids = pieces.ids(line.text)
    if 2 in ids or len(ids) > LONGEST:
        return None
    phones = np.asarray(line.phones)
    durations = np.asarray(line.durations, np.float64)
    tail = 3 if line.symbols[-1] in MARKS else 2
    caps = [FINAL, *[TAIL] * (tail - 1)]
    durations[0] = min(durations[0], LEAD)
    durations[-tail:] = np.minimum(durations[-tail:], caps)
    return Item(
        text=np.asarray(ids),
        phones=phones,
        places=_places(np.asarray(pieces.words(ids)), np.cumsum(phones == space)),
        durations=durations,
    )


def _places(written: NDArray[np.int64], spoken: NDArray[np.int64]) -> NDArray[np.float64]:
    """Where in a text each phone is, by the words of its pieces and of its phones.

    Phones are spread evenly over the pieces of their word.
    """
    if written[-1] != spoken[-1]:
        return np.full(len(spoken), np.nan)
    letters, phones = np.bincount(written), np.bincount(spoken)
    first_letter, first_phone = (np.cumsum(c) - c for c in (letters, phones))
    share = (np.arange(len(spoken)) - first_phone[spoken] + 0.5) / phones[spoken]
    places: NDArray[np.float64] = first_letter[spoken] + share * letters[spoken] - 0.5
    return places


class Batches:
    """Batches of items with equally many pieces and about equally many codes."""

    def __init__(self, items: Sequence[Item], *, positions: int) -> None:
        self._items, self._positions = items, positions
        groups: dict[int, list[int]] = defaultdict(list)
        for index, item in enumerate(items):
            groups[len(item.text)].append(index)
        self._groups = [np.array(group) for group in groups.values() if len(group) >= 2]
        weights = np.array([len(g) * (12 + len(items[g[0]].text)) for g in self._groups], float)
        self._weights = weights / weights.sum()
        self.rng = seeded_rng()

    def draw(self, *, hasty: bool = False, tempo: float = 0.0) -> list[Spoken]:
        """One batch of about ``positions`` positions."""
        group = self._groups[self.rng.choice(len(self._groups), p=self._weights)]
        pieces = len(self._items[group[0]].text)
        each = 6 + pieces + round((1.4 if hasty else 3.8) * pieces) + (0 if hasty else 20)
        rows = max(2, min(len(group), self._positions // each))
        pool = self.rng.choice(group, min(len(group), 4 * rows), replace=False)
        items = [self._items[i] for i in pool]
        spoken = [rush_item(item) if hasty else speak_item(item, self.rng, tempo) for item in items]
        spoken.sort(key=lambda one: len(one.codes))
        first = int(self.rng.integers(0, len(spoken) - rows + 1))
        return spoken[first : first + rows]


class LanguageTask:
    """Next-code prediction with guided attention (Tachibana et al., 2018) and noisy histories."""

    def __init__(
        self,
        config: CheckpointConfig,
        items: Sequence[Item],
        references: Sequence[Tensor],
        *,
        positions: int = 3500,
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
        self._emotions = emotion_rows(self.gpt.sizes.width)

    @torch.no_grad()
    def _initialise(self) -> None:
        """Small tables; recordings have no emotion: its last layer is zero and stays so.

        What a voice gives the GPT stays as it is drawn: it has no part in what is said.
        """
        for name, p in self.gpt.named_parameters():
            if p.ndim == 2 and ("embedding" in name or name.startswith(("gpt.h", "mel_head"))):
                nn.init.normal_(p, std=0.02)
        for p in self.gpt.emo_layer.parameters():
            p.zero_()
        for name, p in self.gpt.named_parameters():
            if name.startswith(
                ("emo", "emovec_layer", "conditioning_encoder", "perceiver_encoder")
            ):
                p.requires_grad_(False)

    def loss(self, progress: float) -> tuple[Tensor, Mapping[str, float]]:
        """Cross-entropy of codes and of next phones, plus the guidance, which fades out."""
        rng, sizes = self._batches.rng, self.gpt.sizes
        hasty = bool(rng.random() < HASTY * (1 - progress / CALM_FROM))
        weights = np.zeros(len(TEMPI))
        if not hasty and rng.random() < EMOTIONAL:
            weights = rng.dirichlet(np.full(len(TEMPI), 0.2)) * rng.random() ** 0.5
        felt = torch.from_numpy(weights).float() @ self._emotions[:HASTE]
        emotion = self._emotions[HASTE] if hasty else felt
        batch = self._batches.draw(hasty=hasty, tempo=float(weights @ TEMPI))
        rows, most = len(batch), max(len(spoken.codes) for spoken in batch)
        history = np.full((rows, most), sizes.start_code)
        target = np.full((rows, most + 1), -100)
        coming = np.full((rows, most + 1), -100)
        for row, spoken in enumerate(batch):
            count = len(spoken.codes)
            history[row, :count] = spoken.misheard(rng, sizes.start_code)
            target[row, :count], target[row, count] = spoken.codes, sizes.stop_code
            coming[row, : count + 1] = _coming(spoken, sizes.start_code // 2)
        wanted, following = torch.from_numpy(target), torch.from_numpy(coming)
        reading = Reading(self._places(batch, most), self._shared_rows)
        logits = self._logits(batch, torch.from_numpy(history), emotion, reading)
        entropy = F.cross_entropy(logits.transpose(1, 2), wanted, ignore_index=-100)
        foresight = self._foresight(logits, following, wanted)
        valid = wanted != -100
        guidance = (reading.loss * valid[:, None]).sum() / (GUIDED_HEADS * valid.sum())
        kind = "hasty" if hasty else "calm"
        figures = {
            "entropy": entropy.item(),
            kind: entropy.item(),
            f"{kind}_next": foresight.item(),
            "guidance": guidance.item(),
        }
        guided = GUIDANCE * max(0.0, 1 - 1.3 * progress) * guidance
        return entropy + (0.0 if hasty else FORESIGHT) * foresight + guided, figures

    @property
    def _shared_rows(self) -> int:
        """Positions that are the same in all rows of a batch."""
        return len(self.gpt.perceiver_encoder.latents) + SPEED_ROWS

    def _foresight(self, logits: Tensor, coming: Tensor, wanted: Tensor) -> Tensor:
        """Cross-entropy of the next phone or the end, given that the present phone is over."""
        sizes = self.gpt.sizes
        begun = torch.cat((logits[..., : sizes.start_code : 2], logits[..., -1:]), dim=-1)
        present = F.pad(wanted[:, :-1], (1, 0), value=-100) // 2
        here = F.one_hot(present.clamp(min=0), begun.shape[-1]).bool() & (present >= 0)[..., None]
        shares = begun.masked_fill(here, -1e4).transpose(1, 2)
        again = coming == present
        return F.cross_entropy(shares, coming.masked_fill(again, -100), ignore_index=-100)

    def _logits(
        self, batch: Sequence[Spoken], history: Tensor, emotion: Tensor, reading: Reading
    ) -> Tensor:
        """Code logits ``[B, S + 1, V]``."""
        rows = len(batch)
        conds = self._voice()
        with torch.autocast("cpu", torch.bfloat16):
            text = torch.from_numpy(np.stack([spoken.item.text for spoken in batch]))
            prompt = build_prompt(
                self.gpt, conds.expand(rows, -1, -1), emotion.expand(rows, -1), text
            )
            places = torch.arange(1, history.shape[1] + 1)
            past = self.gpt.embed_codes(history, places)
            shared = self._shared_rows
            self.gpt(prompt[:1, :shared], reading.begin)
            states = self.gpt(torch.cat((prompt[:, shared:], past), dim=1), reading)
            logits: Tensor = self.gpt.mel_head(states[:, prompt.shape[1] - shared - 1 :])
        return logits.float()

    @torch.no_grad()
    def _voice(self) -> Tensor:
        """What a voice that nobody has gives the GPT: ``[1, latents, C]``."""
        rng = self._batches.rng
        reference = self._references[int(rng.integers(0, len(self._references)))]
        conds = self.gpt.conditioning(Features(reference[None]))
        return conds + float(rng.uniform(0, UNHEARD)) * torch.randn_like(conds)

    @staticmethod
    def _places(batch: Sequence[Spoken], most: int) -> Tensor:
        """Which pieces, stop included, each code may come from: ``[B, S + 1, L + 1]``."""
        length = len(batch[0].item.text)
        near = np.zeros((len(batch), most + 1, length + 1), bool)
        for row, spoken in enumerate(batch):
            count, place = len(spoken.codes), spoken.item.places[spoken.index, None]
            near[row, :count] = ~(np.abs(np.arange(length + 1) - place) > REACH)
            near[row, count:, length] = True
        return torch.from_numpy(near)


def _coming(spoken: Spoken, end: int) -> NDArray[np.int64]:
    """The phone after the one of the code before, for each code and for the stop; ``end`` last."""
    phones = np.append(spoken.item.phones, end)
    coming: NDArray[np.int64] = phones[np.append(0, spoken.index + 1)]
    return coming


class Reading:
    """Causal attention behind positions that all rows share.

    It also measures how well the guided heads find the letters they are at: ``near`` is bool
    ``[B, S + 1, L + 1]``, the last queries are those of the codes, the keys behind the shared ones
    and the start of the text are its pieces. After a pass ``loss [B, heads, S + 1]`` is set.
    """

    def __init__(self, near: Tensor, shared: int) -> None:
        self._near, self._shared = near, shared
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._mask = torch.zeros(())
        self.loss = torch.zeros(())

    def begin(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The shared positions, ``[1, heads, P, head]`` three times; their keys are kept."""
        self._keys.append(key)
        self._values.append(value)
        return attend_causally(layer, query, key, value)

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """``[B, heads, T, head]`` three times -> ``[B, heads, T, head]``.

        Written out: on a CPU its gradient takes half the time of the fused one.
        """
        rows, _, length, width = query.shape
        keys, values = (
            torch.cat((kept[layer].expand(rows, -1, -1, -1), new), dim=2)
            for kept, new in ((self._keys, key), (self._values, value))
        )
        if layer == 0:
            never = torch.full((length, length + self._shared), -1e4, dtype=query.dtype)
            self._mask = never.triu(self._shared + 1)[None]
        if layer == GUIDED_LAYER:
            self.loss = self._missed(query, key)
        scores = torch.baddbmm(
            self._mask, query.flatten(0, 1), keys.flatten(0, 1).mT, alpha=width**-0.5
        )
        return (scores.softmax(-1) @ values.flatten(0, 1)).view_as(query)

    def _missed(self, query: Tensor, key: Tensor) -> Tensor:
        """Cross-entropy of looking anywhere near the right place, among the pieces."""
        codes, texts = self._near.shape[1:]
        asked = query[:, :GUIDED_HEADS, -codes:].float()
        offered = key[:, :GUIDED_HEADS, 1 : 1 + texts].float()
        scores = asked @ offered.mT / query.shape[-1] ** 0.5
        shares = scores.log_softmax(-1).masked_fill(~self._near[:, None], -1e4)
        return -torch.logsumexp(shares, -1)
