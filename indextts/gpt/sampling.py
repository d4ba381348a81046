"""From logits to a code, for many rows at once, each with its own settings (specification 6.5).

Order: repetition penalty (Keskar et al. 2019, arXiv:1909.05858) over generated codes, temperature,
top-k, top-p (Holtzman et al. 2020, arXiv:1904.09751), softmax, one draw by inversion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SamplingRows:
    """Settings of ``n`` rows, each ``[n, 1]``; ``widest`` is the largest top-k."""

    temperature: Tensor
    top_k: Tensor
    top_p: Tensor
    repetition_penalty: Tensor
    widest: int

    @classmethod
    def of(
        cls, rows: Sequence[tuple[float, int, float, float]], vocabulary: int, device: torch.device
    ) -> SamplingRows:
        """From ``(temperature, top_k, top_p, repetition_penalty)`` of each row.

        Temperature 0 means greedy, top-k 0 (or more than there are codes) means all codes.
        """
        kept = [
            1 if temperature == 0 else min(top_k, vocabulary) if top_k > 0 else vocabulary
            for temperature, top_k, _, _ in rows
        ]
        temperature, top_p, penalty = torch.tensor(
            [(temperature or 1.0, top_p, penalty) for temperature, _, top_p, penalty in rows],
            device=device,
        ).unbind(1)
        return cls(
            temperature=temperature[:, None],
            top_k=torch.tensor(kept, device=device)[:, None],
            top_p=top_p[:, None],
            repetition_penalty=penalty[:, None],
            widest=max(kept),
        )

    def row(self, index: int) -> SamplingRows:
        """The settings of one row."""
        return SamplingRows(
            temperature=self.temperature[index : index + 1],
            top_k=self.top_k[index : index + 1],
            top_p=self.top_p[index : index + 1],
            repetition_penalty=self.repetition_penalty[index : index + 1],
            widest=self.widest,
        )


def candidates(logits: Tensor, seen: Tensor, rows: SamplingRows) -> tuple[Tensor, Tensor]:
    """Codes that may be drawn and how likely each is, most likely first.

    ``logits`` float32 ``[n, V]``, ``seen`` bool ``[n, V]`` (codes generated so far) ->
    probabilities ``[n, k]`` and codes ``[n, k]``. Top-p keeps the smallest set of most probable
    codes whose mass reaches it, never less than one.
    """
    penalty = rows.repetition_penalty
    weakened = torch.where(logits > 0, logits / penalty, logits * penalty)
    penalised = torch.where(seen, weakened, logits)
    values, codes = (penalised / rows.temperature).topk(rows.widest)
    beyond = torch.arange(rows.widest, device=logits.device) >= rows.top_k
    shares = values.masked_fill(beyond, float("-inf")).softmax(-1)
    tail = shares.flip(-1).cumsum(-1).flip(-1)
    keep = tail > 1 - rows.top_p
    keep[:, 0] = True
    shares = shares * keep
    return shares / shares.sum(-1, keepdim=True), codes


def distribution(logits: Tensor, seen: Tensor, rows: SamplingRows) -> Tensor:
    """What is drawn from, over all codes: ``[n, V]`` twice -> ``[n, V]``."""
    shares, codes = candidates(logits, seen, rows)
    return torch.zeros_like(logits).scatter(1, codes, shares)


def draw(logits: Tensor, seen: Tensor, rows: SamplingRows, uniform: Tensor) -> Tensor:
    """One code per row: ``[n, V]`` twice and ``uniform [n]`` in [0, 1) -> int64 ``[n]``.

    The numbers come from outside so that each request can own its generator. Logits that are not
    finite give -1.
    """
    shares, codes = candidates(logits, seen, rows)
    mass = shares.cumsum(-1)
    passed = (mass <= uniform[:, None] * mass[:, -1:]).sum(-1)
    likely = (shares > 0).sum(-1)  # rounding may push the product up to the whole mass
    index = torch.minimum(passed, likely - 1).clamp_(min=0)
    drawn = codes.gather(1, index[:, None])[:, 0]
    return torch.where(logits.isfinite().all(-1), drawn, -1)


def looped_tail(codes: Sequence[int], max_period: int = 8) -> int:
    """How many codes at the end repeat one loop of at most ``max_period`` codes.

    The loop itself counts; 0 when the last codes do not repeat. A caller compares it with what it
    takes for a runaway. The cost is ``max_period`` times the length of the loop.
    """
    longest = 0
    for period in range(1, min(max_period, len(codes) // 2) + 1):
        start = len(codes) - period
        while start > 0 and codes[start - 1] == codes[start - 1 + period]:
            start -= 1
        tail = len(codes) - start
        if tail >= 2 * period:
            longest = max(longest, tail)
    return longest
