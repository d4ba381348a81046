"""Who computes first when several contexts share one device."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from streaming.events import AudioFrame
from streaming.pipeline import SpeechPipeline
from streaming.request import SynthesisRequest
from streaming.worker import DeviceWorker
from tests.fakes import Tone, ToneModel, ToneScript
from tests.streaming.contexts import until

LONG = "This one has a lot to say and is at it for quite some time now. " * 12
SHORT = "Hello there."


async def test_a_first_chunk_goes_before_later_chunks_of_others() -> None:
    async with DeviceWorker() as worker:
        script = ToneScript(delay_s={"codes": 0.01, "slice": 0.01})
        model = ToneModel(script=script, worker=worker)
        pipeline = SpeechPipeline(model)

        async def speak(name: str, text: str) -> None:
            request = SynthesisRequest(request_id=name, voice="v", seed=1)
            speech = pipeline.speak_text(request, Tone(frequency_hz=440.0), text)
            async with aclosing(speech) as events:
                async for event in events:
                    if name == "short" and isinstance(event, AudioFrame):
                        return

        talkers = [asyncio.create_task(speak(f"long {n}", LONG)) for n in range(4)]
        await until(lambda: sum(kind == "slice" and i > 0 for kind, _, i in model.log) >= 20)
        await speak("short", SHORT)
        begun = model.log.index(("begin", SHORT, 0))
        made = [text for kind, text, _ in model.log[begun:] if kind == "slice"]
        # The item that runs is not interrupted, once before the codes and once before the slice.
        assert made.index(SHORT) <= 2
        for task in talkers:
            task.cancel()
        await asyncio.gather(*talkers, return_exceptions=True)
        pipeline.close()
