"""The synchronous heart of the torch engine: rows that decode together, one code per step.

Everything here is blocking and belongs to one thread at a time. Rows join by a prefill, and leave
at the beginning of the next step or join after they are over.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from indextts.engines.base import Generation, SamplingParams
from indextts.gpt.backbone import KeyValueCache
from indextts.gpt.model import CodeGpt
from indextts.gpt.sampling import SamplingRows, draw
from indextts.tensors import Codes, Latents, Prompt

_NEVER = -1e9


@dataclass(slots=True, kw_only=True, eq=False)
class Row:
    """One generation in progress; ``length`` counts its cached positions.

    ``outcome`` is there when it ended well, ``broken`` tells that the model computed numbers that
    are not finite. ``abandoned`` may be set by another thread at any time; the batch drops the row
    before it does anything else.
    """

    params: SamplingParams
    length: int = 0
    codes: list[int] = field(default_factory=list)
    states: list[Tensor] = field(default_factory=list)
    outcome: Generation | None = None
    broken: bool = False
    abandoned: bool = False
    _generator: torch.Generator = field(default_factory=torch.Generator)

    def __post_init__(self) -> None:
        self._generator.manual_seed(self.params.seed % 2**63)

    @property
    def ended(self) -> bool:
        """Whether no further code will come."""
        return self.broken or self.outcome is not None

    def uniform(self) -> float:
        """The number in [0, 1) that draws the next code: a function of seed and step alone."""
        return torch.rand((), generator=self._generator).item()


class DecodeBatch:
    """Up to ``rows`` generations over one key-value cache of ``positions`` positions each."""

    def __init__(self, model: CodeGpt, *, rows: int, positions: int) -> None:
        self._model = model
        self._cache = KeyValueCache(model.gpt, rows=rows, positions=positions)
        self._device = model.mel_head.weight.device
        codes = model.sizes.code_tokens
        self._seen = torch.zeros(rows, codes, dtype=torch.bool, device=self._device)
        self._rows: list[Row] = []
        self._settings: SamplingRows | None = None

    @torch.no_grad()
    def join(self, row: Row, prompt: Prompt) -> None:
        """Prefill ``[1, P, C]`` into a free place of the cache and choose the row's first code."""
        self._drop_finished()
        index = len(self._rows)
        prompt_states = self._model(
            prompt.to(self._model.mel_head.weight), self._cache.prefill(index)
        )
        row.length = prompt.shape[1]
        self._rows.append(row)
        self._seen[index] = False
        self._arrange()
        self._choose(index, prompt_states[:, -1])

    @torch.no_grad()
    def step(self) -> None:
        """One more code for every row."""
        self._drop_finished()
        rows = self._rows
        if not rows:
            return
        fed = torch.tensor([(row.codes[-1], len(row.codes)) for row in rows], device=self._device)
        attend = self._cache.decode([row.length for row in rows])
        states = self._model(self._model.embed_codes(fed[:, :1], fed[:, 1:]), attend)
        for row in rows:
            row.length += 1
        self._choose(0, states[:, 0])

    def _choose(self, first: int, states: Tensor) -> None:
        """Draw a code for each row from ``first`` on, by its state ``[n, C]``."""
        assert self._settings is not None
        rows = self._rows[first:]
        settings = self._settings if first == 0 else self._settings.row(first)
        seen = self._seen[first : len(self._rows)]
        uniform = torch.tensor([row.uniform() for row in rows], device=self._device)
        logits = self._model.mel_head(states).float()
        logits[:, self._model.sizes.start_code] = _NEVER  # the codec has no such entry
        codes = draw(logits, seen, settings, uniform)
        seen.scatter_(1, codes.clamp(min=0)[:, None], True)
        for row, code, state in zip(rows, codes.tolist(), states.float().unbind(), strict=True):
            self._take(row, code, state)

    def _take(self, row: Row, code: int, state: Tensor) -> None:
        """Note a row's next code and the state ``[C]`` that chose it; -1 means bad numbers."""
        row.broken = code < 0
        stopped = code == self._model.sizes.stop_code
        if not row.broken and not stopped:
            row.codes.append(code)
            row.states.append(state)
        if stopped or len(row.codes) >= row.params.max_codes:
            latents = torch.stack(row.states) if row.states else state.new_zeros(0, len(state))
            codes = torch.tensor(row.codes, dtype=torch.long, device=self._device)
            row.outcome = Generation(
                codes=Codes(codes[None]), latents=Latents(latents[None]), stopped=stopped
            )

    def _drop_finished(self) -> None:
        """Close the gaps that rows leave behind, so that rows in use stay ``0 .. n - 1``."""
        before = len(self._rows)
        for index in reversed(range(before)):
            row = self._rows[index]
            if not (row.ended or row.abandoned):
                continue
            if row.broken:
                self._cache.clear(index)
            last = self._rows.pop()
            if last is not row:
                self._rows[index] = last
                self._cache.move(source=len(self._rows), target=index, length=last.length)
                self._seen[index] = self._seen[len(self._rows)]
        if len(self._rows) != before:
            self._arrange()

    def _arrange(self) -> None:
        """Lay out the sampling settings of the rows."""
        settings = [
            (p.temperature, p.top_k, p.top_p, p.repetition_penalty)
            for p in (row.params for row in self._rows)
        ]
        codes = self._model.sizes.code_tokens
        self._settings = SamplingRows.of(settings, codes, self._device) if settings else None
