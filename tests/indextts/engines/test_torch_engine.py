"""The engine: joining, leaving, cancelling, overflow, recovery, closing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable

import pytest
import torch

from indextts.engines.base import Engine, Generation, SamplingParams
from indextts.engines.torch_engine import SharedUrgency, TorchEngine
from indextts.gpt.model import EmotiveGpt
from indextts.tensors import Prompt
from streaming.errors import EngineFailed, Overloaded
from streaming.speech import Urgency
from tests.indextts.engines.conftest import WatchedWorker, alone, assert_same
from tests.indextts.gpt.tiny import some_params, some_prompt, tiny_gpt


@pytest.fixture
def model() -> EmotiveGpt:
    return tiny_gpt()


@pytest.fixture
def endless(model: EmotiveGpt) -> EmotiveGpt:
    with torch.no_grad():
        model.mel_head.bias[model.sizes.stop_code] = -1e3
    return model


@pytest.fixture
async def engine(model: EmotiveGpt, worker: WatchedWorker) -> AsyncIterator[TorchEngine]:
    async with TorchEngine(model, worker=worker, slots=3, waiting=4) as running:
        yield running


def ask(
    engine: Engine,
    name: str,
    prompt: Prompt,
    params: SamplingParams,
    urgency: Urgency | None = None,
) -> asyncio.Task[Generation]:
    return asyncio.create_task(engine.generate(name, prompt, params, urgency or Urgency()))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - another thread makes it true
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("seed", range(3))
async def test_random_company_changes_nothing(
    engine: TorchEngine, model: EmotiveGpt, seed: int
) -> None:
    dice = random.Random(seed)

    async def one(index: int) -> None:
        prompt = some_prompt(model, dice.randint(0, 15), index)
        params = some_params(seed=index, top_k=dice.choice([0, 10]), max_codes=dice.randint(1, 50))
        await asyncio.sleep(dice.random() * 0.1)
        task = ask(engine, f"r{index}", prompt, params)
        if dice.random() < 0.3:
            await asyncio.sleep(dice.random() * 0.03)
            task.cancel()
            await asyncio.wait({task})
            assert f"r{index}" not in engine.active
        else:
            assert_same(await task, alone(model, prompt, params))

    for start in range(0, 28, 7):
        await asyncio.gather(*(one(start + index) for index in range(7)))
    assert engine.active == frozenset()


async def test_requests_over_the_slots_wait_and_are_served(
    endless: EmotiveGpt, engine: TorchEngine, worker: WatchedWorker
) -> None:
    params = some_params(max_codes=20)
    tasks = [ask(engine, f"r{i}", some_prompt(endless), params) for i in range(4)]
    results = await asyncio.gather(*tasks)
    assert [result.codes.shape[1] for result in results] == [20] * 4
    prefills = [i for i, name in enumerate(worker.begun_items) if name == "gpt.prefill"]
    assert prefills[:3] == [1, 3, 5]
    assert prefills[3] > 20
    steps = worker.begun_items.count("gpt.step")
    assert steps < 45, "rows decode together"


async def test_the_most_urgent_request_joins_first(
    endless: EmotiveGpt, worker: WatchedWorker
) -> None:
    leads = {"late": 9.0, "soon": 1.0, "now": 0.0}
    order: list[str] = []
    async with TorchEngine(endless, worker=worker, slots=1) as engine:
        with worker.hold():
            first = ask(engine, "first", some_prompt(endless), some_params(max_codes=3))
            await until(lambda: "gpt.prefill" in worker.begun_items)
            tasks = []
            for name, lead_s in leads.items():
                urgency = Urgency(lead_s=lambda lead_s=lead_s: lead_s)  # type: ignore[misc]
                params = some_params(max_codes=3)
                tasks.append(ask(engine, name, some_prompt(endless), params, urgency))
                tasks[-1].add_done_callback(lambda _, name=name: order.append(name))  # type: ignore[misc]
            await asyncio.sleep(0)
        await asyncio.gather(first, *tasks)
    assert order == ["now", "soon", "late"]


async def test_a_full_queue_refuses(
    endless: EmotiveGpt, engine: TorchEngine, worker: WatchedWorker
) -> None:
    with worker.hold():
        tasks = [ask(engine, f"r{i}", some_prompt(endless), some_params()) for i in range(4)]
        await until(lambda: "gpt.prefill" in worker.begun_items)
        tasks.append(ask(engine, "r4", some_prompt(endless), some_params()))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as refused:
            await engine.generate("r5", some_prompt(endless), some_params(), Urgency())
        assert refused.value.retry_after_s is not None
        assert engine.active == {f"r{i}" for i in range(5)}
    assert len(await asyncio.gather(*tasks)) == 5


async def test_cancelling_frees_the_place_at_once(
    endless: EmotiveGpt, worker: WatchedWorker
) -> None:
    async with TorchEngine(endless, worker=worker, slots=1) as engine:
        first = ask(engine, "first", some_prompt(endless), some_params(max_codes=60))
        second = ask(engine, "second", some_prompt(endless), some_params(max_codes=2))
        await until(lambda: "gpt.step" in worker.begun_items)
        first.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert engine.active == {"second"}
        assert (await second).codes.shape == (1, 2)
        assert worker.begun_items.count("gpt.step") < 30
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_work_for_nobody_never_begins(
    endless: EmotiveGpt, engine: TorchEngine, worker: WatchedWorker
) -> None:
    with worker.hold():
        blocker = asyncio.create_task(worker.run(lambda: None, Urgency(), name="blocker"))
        await until(lambda: "blocker" in worker.begun_items)
        waiting = ask(engine, "gone", some_prompt(endless), some_params())
        await until(lambda: worker.waiting == 1)
        waiting.cancel()
        await until(lambda: worker.waiting == 0)
    await blocker
    served = await engine.generate("next", some_prompt(endless), some_params(), Urgency())
    assert served.codes.shape == (1, 40)
    assert worker.begun_items.count("gpt.prefill") == 1


async def test_a_prefill_nobody_waits_for_any_more_leaves_no_row(
    endless: EmotiveGpt, worker: WatchedWorker
) -> None:
    async with TorchEngine(endless, worker=worker, slots=1) as engine:
        with worker.hold():
            gone = ask(engine, "gone", some_prompt(endless), some_params(seed=1))
            await until(lambda: "gpt.prefill" in worker.begun_items)
            gone.cancel()
            await asyncio.wait({gone})
            assert engine.active == frozenset()
        params = some_params(seed=2)
        served = await engine.generate("next", some_prompt(endless), params, Urgency())
    assert_same(served, alone(endless, some_prompt(endless), params))


@pytest.mark.parametrize("name", ["gpt.prefill", "gpt.step"])
async def test_a_crash_fails_those_who_are_here_and_nobody_after(
    endless: EmotiveGpt,
    engine: TorchEngine,
    worker: WatchedWorker,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    with worker.hold():
        tasks = [ask(engine, f"r{i}", some_prompt(endless), some_params()) for i in range(3)]
        await until(lambda: "gpt.prefill" in worker.begun_items)
        worker.fail_next[name] = RuntimeError("out of memory at 0x7f")
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, EngineFailed) for result in results)
    assert "0x7f" not in str(results)
    assert "0x7f" in caplog.text
    assert engine.active == frozenset()
    served = await engine.generate("next", some_prompt(endless), some_params(), Urgency())
    assert_same(served, alone(endless, some_prompt(endless), some_params()))


async def test_a_cache_that_cannot_be_made_again_fails_requests_not_the_engine(
    endless: EmotiveGpt, engine: TorchEngine, worker: WatchedWorker
) -> None:
    for name in ("gpt.step", "gpt.cache"):
        worker.fail_next[name] = MemoryError()
        with pytest.raises(EngineFailed):
            await engine.generate("r", some_prompt(endless), some_params(), Urgency())
    assert await engine.generate("r", some_prompt(endless), some_params(), Urgency())


async def test_bad_numbers_fail_their_request_alone(
    endless: EmotiveGpt, engine: TorchEngine
) -> None:
    bad = Prompt(torch.full((1, 10, 32), float("nan")))
    fine = ask(engine, "fine", some_prompt(endless), some_params())
    with pytest.raises(EngineFailed, match="bad numbers"):
        await engine.generate("bad", bad, some_params(), Urgency())
    assert_same(await fine, alone(endless, some_prompt(endless), some_params()))


async def test_closing_fails_who_runs_and_who_waits(
    endless: EmotiveGpt, worker: WatchedWorker
) -> None:
    engine = TorchEngine(endless, worker=worker, slots=1)
    await engine.start()
    await engine.start()
    tasks = [ask(engine, f"r{i}", some_prompt(endless), some_params()) for i in range(3)]
    await until(lambda: "gpt.step" in worker.begun_items)
    await engine.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [EngineFailed] * 3
    assert engine.active == frozenset()
    with pytest.raises(EngineFailed, match="not running"):
        await engine.generate("r", some_prompt(endless), some_params(), Urgency())
    await engine.close()
    await engine.start()
    assert await engine.generate("r", some_prompt(endless), some_params(), Urgency())
    await engine.close()


async def test_a_closed_worker_is_an_engine_failure(model: EmotiveGpt) -> None:
    async with WatchedWorker() as worker, TorchEngine(model, worker=worker) as engine:
        await worker.close()
        with pytest.raises(EngineFailed):
            await engine.generate("r", some_prompt(model), some_params(), Urgency())


@pytest.mark.parametrize(
    ("prompt", "params", "message"),
    [
        (torch.zeros(1, 5, 31), some_params(), r"a prompt is \[1, P, 32\]"),
        (torch.zeros(2, 5, 32), some_params(), "a prompt is"),
        (torch.zeros(5, 32), some_params(), "a prompt is"),
        (torch.zeros(1, 0, 32), some_params(), "positions"),
        (torch.zeros(1, 80, 32), some_params(), "120 positions are needed"),
        (torch.zeros(1, 5, 32), some_params(max_codes=0), "max_codes"),
        (torch.zeros(1, 5, 32), some_params(max_codes=61), "max_codes"),
        (torch.zeros(1, 5, 32), some_params(temperature=-1.0), "temperature"),
        (torch.zeros(1, 5, 32), some_params(temperature=float("nan")), "temperature"),
        (torch.zeros(1, 5, 32), some_params(repetition_penalty=0.0), "repetition_penalty"),
    ],
)
async def test_what_does_not_fit_is_refused(
    engine: TorchEngine, prompt: torch.Tensor, params: SamplingParams, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        await engine.generate("r", Prompt(prompt), params, Urgency())
    assert engine.active == frozenset()


async def test_an_id_in_use_is_refused(endless: EmotiveGpt, engine: TorchEngine) -> None:
    first = ask(engine, "r", some_prompt(endless), some_params())
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match="in use"):
        await engine.generate("r", some_prompt(endless), some_params(), Urgency())
    assert (await first).codes.shape == (1, 40)


def test_shared_urgency_is_that_of_the_most_urgent() -> None:
    lead = {"a": 3.0, "b": 2.0}
    first = Urgency(lead_s=lambda: lead["a"])
    shared = SharedUrgency([first, Urgency(lead_s=lambda: lead["b"])])
    assert shared.key() == (1, 2.0)
    lead["b"] = 5.0
    assert shared.key() == (1, 3.0)
    first.first = True
    assert shared.key() == (0, 3.0)
