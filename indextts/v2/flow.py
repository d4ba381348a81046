"""Flow matching from noise to mel: Euler steps with classifier-free guidance (specification 7.2).

Sampling is a state machine: ``start`` makes a state, each ``step`` makes the next one, ``finish``
takes the mel out. A state belongs to one request and is never changed, so steps of many requests
may be mixed, delayed, run together or dropped. Guidance: Ho and Salimans, 2022, arXiv:2207.12598;
its cached difference: specification 7.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from indextts.tensors import Mel
from indextts.v2.dit import DiT

_LAYOUTS_KEPT = 16


def draw_noise(seed: int, chunk_index: int, channels: int, frames: int) -> Tensor:
    """Normal noise ``[1, channels, frames]`` of one chunk; drawn on the CPU, alike everywhere."""
    words = np.random.SeedSequence((seed, chunk_index)).generate_state(1, np.uint64)
    generator = torch.Generator().manual_seed(int(words[0] >> np.uint64(1)))
    return torch.randn(1, channels, frames, generator=generator)


def time_span(steps: int) -> Tensor:
    """Times at which the steps begin and end, ``[steps + 1]``."""
    return torch.linspace(0, 1, steps + 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FlowState:
    """One request between two steps.

    ``x`` float32 ``[1, mel, T]`` with zeros in the prompt's frames; ``context`` ``[1, T, H]`` of
    the request; ``guidance`` ``[1, mel, T - Tm]``, the cached difference between the conditional
    and the unconditional velocity; ``rows``, how many estimator rows were evaluated.
    """

    x: Tensor
    context: Tensor
    prompt_frames: int
    steps_done: int
    guidance: Tensor | None
    rows: int


class FlowSampler:
    """Euler sampling with fixed ``steps``, ``cfg_rate`` and ``cfg_cache_interval``.

    Takes the estimator's weights as they are at construction; every state must come from ``start``
    of the same sampler. ``cfg_rate`` 0 evaluates the conditional row only. With an interval N > 1
    both rows are evaluated at steps 1, N + 1, 2N + 1, ...; between them the cached difference
    guides. Raises ``ValueError`` for fewer than one step or a negative rate.
    """

    def __init__(
        self, dit: DiT, *, steps: int = 25, cfg_rate: float = 0.7, cfg_cache_interval: int = 1
    ) -> None:
        if steps < 1 or cfg_rate < 0:
            raise ValueError("flow sampling needs at least one step and a rate of 0 or more")
        self.steps = steps
        self.cfg_rate = cfg_rate
        self.cfg_cache_interval = cfg_cache_interval
        self._dit = dit
        durations = time_span(steps).diff()
        self._dt = durations.tolist()
        with torch.no_grad():
            times = torch.cat((torch.zeros(1), durations.cumsum(0)[:-1]))
            self._time_terms = dit.time_terms(times.to(dit.conv1.weight.device))
            self._unconditional = dit.unconditional()
        self._layout = lru_cache(maxsize=_LAYOUTS_KEPT)(dit.layout)

    @torch.no_grad()
    def start(self, mu: Tensor, prompt: Mel, style: Tensor, noise: Tensor) -> FlowState:
        """State before the first step.

        ``mu [1, T, content]`` covers prompt and target, ``prompt [1, mel, Tm]`` with ``Tm < T``,
        ``style [1, S]``, ``noise [1, mel, T]``. Raises ``ValueError`` when lengths do not fit.
        """
        frames, prompt_frames = mu.shape[1], prompt.shape[-1]
        if noise.shape[-1] != frames or prompt_frames >= frames:
            raise ValueError(
                f"{noise.shape[-1]} frames of noise and {prompt_frames} of prompt "
                f"do not fit {frames} frames of conditions"
            )
        x = F.pad(noise[..., prompt_frames:].to(mu.device), (prompt_frames, 0))
        padded_prompt = F.pad(prompt, (0, frames - prompt_frames))
        return FlowState(
            x=x,
            context=self._dit.prepare(mu, padded_prompt, style),
            prompt_frames=prompt_frames,
            steps_done=0,
            guidance=None,
            rows=0,
        )

    def done(self, state: FlowState) -> bool:
        """Whether no step is left."""
        return state.steps_done >= self.steps

    def finish(self, state: FlowState) -> Mel:
        """The target's mel ``[1, mel, T - Tm]``; ``ValueError`` while steps are left."""
        if not self.done(state):
            raise ValueError(f"{state.steps_done} of {self.steps} steps are done")
        return Mel(state.x[..., state.prompt_frames :])

    def step(self, state: FlowState) -> FlowState:
        """The state after one more step; ``ValueError`` when none is left."""
        return self.step_batch([state])[0]

    @torch.no_grad()
    def step_batch(self, states: Sequence[FlowState]) -> list[FlowState]:
        """One more step for each of several requests in one evaluation of the estimator.

        Each gets what it gets alone; they may be at different steps. ``ValueError`` when one of
        them has no step left.
        """
        if any(self.done(state) for state in states):
            raise ValueError("no step is left")
        guided = [state for state in states if self._evaluates_guidance(state)]
        velocities = self._velocities(
            [*states, *guided],
            [state.context for state in states]
            + [self._unconditional.expand_as(state.context) for state in guided],
        )
        unconditional = iter(velocities[len(states) :])
        after = []
        for state, velocity in zip(states, velocities, strict=False):
            guidance, rows = state.guidance, state.rows + 1
            if self._evaluates_guidance(state):
                guidance, rows = velocity - next(unconditional), rows + 1
            if guidance is not None:
                velocity = velocity + self.cfg_rate * guidance
            x = state.x.clone()
            x[..., state.prompt_frames :] += self._dt[state.steps_done] * velocity
            after.append(
                replace(state, x=x, guidance=guidance, rows=rows, steps_done=state.steps_done + 1)
            )
        return after

    def _evaluates_guidance(self, state: FlowState) -> bool:
        """Whether the next step needs the unconditional row."""
        if self.cfg_rate == 0:
            return False
        return self.cfg_cache_interval <= 1 or state.steps_done % self.cfg_cache_interval == 0

    def _velocities(self, states: Sequence[FlowState], contexts: Sequence[Tensor]) -> list[Tensor]:
        """Velocity ``[1, mel, T - Tm]`` of each row, evaluated as one right-padded batch."""
        lengths = tuple(state.x.shape[-1] for state in states)
        frames = max(lengths)
        if min(lengths) < frames:
            x = torch.cat([F.pad(s.x, (0, frames - s.x.shape[-1])) for s in states])
            context = torch.cat([F.pad(c, (0, 0, 0, frames - c.shape[1])) for c in contexts])
        else:
            x, context = torch.cat([s.x for s in states]), torch.cat(list(contexts))
        time = self._time_terms.rows([state.steps_done for state in states])
        layout = self._layout(lengths, min(state.prompt_frames for state in states))
        velocity = self._dit.velocity(x.to(context), context, time, layout).float()
        return [
            velocity[i : i + 1, :, state.prompt_frames - layout.first : length - layout.first]
            for i, (state, length) in enumerate(zip(states, lengths, strict=True))
        ]
