"""A pulled brake keeps work from beginning, before the request itself is cancelled."""

from __future__ import annotations

import asyncio

import torch

from indextts.engines.torch_engine import TorchEngine
from streaming.speech import Brake, Urgency
from tests.indextts.engines.conftest import WatchedWorker, alone, assert_same
from tests.indextts.gpt.tiny import some_params, some_prompt, tiny_gpt


async def test_nothing_begins_after_the_brake_and_company_goes_on(worker: WatchedWorker) -> None:
    model = tiny_gpt()
    with torch.no_grad():
        model.mel_head.bias[model.sizes.stop_code] = -1e3
    brake = Brake()
    prompt, params = some_prompt(model, 5, 1), some_params(seed=1, max_codes=40)
    async with TorchEngine(model, worker=worker, slots=2) as engine:
        stopped = asyncio.create_task(
            engine.generate("stopped", prompt, params, Urgency(brake=brake))
        )
        while "gpt.step" not in worker.begun_items:  # noqa: ASYNC110 - another thread fills it
            await asyncio.sleep(0.001)
        with worker.hold():
            brake.pull()
            begun = len(worker.begun_items)
        await asyncio.sleep(0.05)
        assert len(worker.begun_items) <= begun + 1, "only what had begun may end"
        stopped.cancel()
        await asyncio.wait([stopped])
        assert not engine.active
        again = await engine.generate("again", prompt, params, Urgency())
        assert_same(again, alone(model, prompt, params))
