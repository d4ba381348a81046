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
    """Settings of ``n`` rows, laid out for ``k`` candidates in ascending order.

    ``temperature``, ``repetition_penalty`` and ``least_mass`` (1 - top-p) are ``[n, 1]``;
    ``beyond`` is bool ``[n, k]``, true where a candidate is not among the row's top-k.
    """

    temperature: Tensor
    repetition_penalty: Tensor
    least_mass: Tensor
    beyond: Tensor

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
        columns = torch.tensor([(row[0] or 1.0, row[3], 1 - row[2]) for row in rows], device=device)
        temperature, penalty, least_mass = columns[:, :, None].unbind(1)
        rank = torch.arange(max(kept), 0, -1, device=device)
        return cls(
            temperature=temperature,
            repetition_penalty=penalty,
            least_mass=least_mass,
            beyond=rank > torch.tensor(kept, device=device)[:, None],
        )

    def row(self, index: int) -> SamplingRows:
        """The settings of one row."""
        here = slice(index, index + 1)
        return SamplingRows(
            temperature=self.temperature[here],
            repetition_penalty=self.repetition_penalty[here],
            least_mass=self.least_mass[here],
            beyond=self.beyond[here],
        )


def candidates(logits: Tensor, seen: Tensor, rows: SamplingRows) -> tuple[Tensor, Tensor]:
    """Codes that may be drawn and the share of each, the most likely one last.

    ``logits`` float32 ``[n, V]``, ``seen`` bool ``[n, V]`` (codes generated so far) -> shares
    ``[n, k]``, which need not add up to 1, and codes ``[n, k]``. Top-p keeps the smallest set of
    most probable codes whose mass reaches it, never less than one.
    """
    penalty = rows.repetition_penalty
    weakened = torch.where(logits > 0, logits / penalty, logits * penalty)
    penalised = torch.where(seen, weakened, logits)
    values, codes = (penalised / rows.temperature).topk(rows.beyond.shape[1])
    shares = values.flip(-1).masked_fill(rows.beyond, float("-inf")).softmax(-1)
    keep = shares.cumsum(-1) > rows.least_mass
    keep[:, -1] = True
    return shares * keep, codes.flip(-1)


def distribution(logits: Tensor, seen: Tensor, rows: SamplingRows) -> Tensor:
    """What is drawn from, over all codes: ``[n, V]`` twice -> ``[n, V]``."""
    shares, codes = candidates(logits, seen, rows)
    return torch.zeros_like(logits).scatter(1, codes, shares / shares.sum(-1, keepdim=True))


def draw(logits: Tensor, seen: Tensor, rows: SamplingRows, uniform: Tensor) -> Tensor:
    """One code per row: ``[n, V]`` twice and ``uniform [n]`` in [0, 1) -> int64 ``[n]``.

    The numbers come from outside so that each request can own its generator. Logits that are NaN
    or infinitely large give -1.
    """
    shares, codes = candidates(logits, seen, rows)
    mass = shares.cumsum(-1)
    whole = mass[:, -1:]
    passed = (mass <= uniform[:, None] * whole).sum(-1, keepdim=True)
    index = passed.clamp_(max=codes.shape[1] - 1)  # rounding may lift the product to the whole
    return torch.where(whole > 0, codes.gather(1, index), -1)[:, 0]


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
