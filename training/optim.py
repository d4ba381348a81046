"""Optimisers: Muon for the matrices, AdamW for everything else, and their schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

ITERATION_DTYPE = torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32
NEWTON_SCHULZ = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
)
"""Quintic coefficients, one row per iteration, that push singular values towards 1."""


def orthogonalize(matrix: Tensor) -> Tensor:
    """Approximate polar factor of ``matrix`` [m, n] by Newton-Schulz iterations.

    In bfloat16 only where the CPU has units for it: elsewhere it is many times slower.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = (x / (x.norm() + 1e-7)).to(ITERATION_DTYPE)
    for a, b, c in NEWTON_SCHULZ:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    factor: Tensor = x.T if tall else x
    return factor.to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised (Jordan et al., 2024), as [m, -1]."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(list(params), {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update; ``closure`` is not called."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                average = state.setdefault("momentum", torch.zeros_like(p))
                average.mul_(group["momentum"]).add_(p.grad)
                update = (p.grad + group["momentum"] * average).flatten(1)
                scale = group["lr"] * 0.2 * max(update.shape) ** 0.5
                p.add_(orthogonalize(update).view_as(p), alpha=-scale)


def split_optimizers(
    module: nn.Module,
    *,
    matrix: Callable[[str, nn.Parameter], bool],
    muon_lr: float,
    adam_lr: float,
    betas: tuple[float, float] = (0.9, 0.95),
) -> list[torch.optim.Optimizer]:
    """Muon over the parameters that ``matrix`` chooses, AdamW over the other trainable ones."""
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    matrices = [p for name, p in named if matrix(name, p)]
    chosen = {id(p) for p in matrices}
    others = [p for _, p in named if id(p) not in chosen]
    adam = torch.optim.AdamW(others, lr=adam_lr, betas=betas, weight_decay=0.0)
    optimizers: list[torch.optim.Optimizer] = [adam]
    if matrices:
        optimizers.append(Muon(matrices, lr=muon_lr))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def schedule(step: int, progress: float, *, warmup_steps: int, hold: float) -> float:
    """Share of the peak rate: linear warm-up, constant until ``hold``, then linear down to 3 %."""
    decay = min(1.0, (1.0 - progress) / (1.0 - hold)) if progress < 1.0 else 0.0
    return min(1.0, (step + 1) / warmup_steps) * (0.03 + 0.97 * max(0.0, decay))


def set_rates(optimizers: Iterable[torch.optim.Optimizer], share: float) -> None:
    """Set every group's rate to ``share`` of its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * share


def state_of(optimizers: Iterable[torch.optim.Optimizer]) -> list[dict[str, Any]]:
    """What a checkpoint keeps of the optimisers."""
    return [optimizer.state_dict() for optimizer in optimizers]
