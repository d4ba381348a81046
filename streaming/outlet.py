"""The samples of a context's chunks into numbered PCM frames: silence, speed, rate, joins."""

from __future__ import annotations

import numpy as np

from streaming.events import AudioFrame
from streaming.pcm import PcmFramer
from streaming.resample import StreamResampler
from streaming.seams import SeamBlender
from streaming.speech import Samples
from streaming.tempo import Tempo
from streaming.trimming import Trimmer


class Outlet:
    """Per chunk: ``begin``, ``push`` any number, ``end``; ``samples`` counts all that came out.

    Each chunk has its own filters, since its edges are faded; so a chunk never waits for the
    samples of the next one.
    """

    def __init__(self, *, from_hz: int, to_hz: int, speed: float = 1.0) -> None:
        self.samples = 0
        self._from_hz = from_hz
        self._to_hz = to_hz
        self._speed = speed
        self._blender = SeamBlender(sample_rate_hz=to_hz)
        self._framer = PcmFramer(sample_rate_hz=to_hz)
        self._new_filters()

    @property
    def trimmed_ms(self) -> float:
        """Silence taken from the chunk that began last, as the model spoke it."""
        return self._trimmer.trimmed_ms

    def begin(self, *, pause_ms: float) -> list[AudioFrame]:
        """A new chunk; gives the pause before it."""
        self._new_filters()
        return self._number(self._framer.push(self._blender.begin(pause_ms=pause_ms)))

    def push(self, samples: Samples) -> list[AudioFrame]:
        """Frames that are complete now."""
        spoken = self._tempo.push(self._trimmer.push(samples))
        return self._number(self._framer.push(self._blender.push(self._resampler.push(spoken))))

    def end(self, *, gap_ms: float, overlap: bool) -> list[AudioFrame]:
        """The rest of the chunk and its gap (``SeamBlender.end``); the last frame may be short."""
        spoken = [self._tempo.push(self._trimmer.end()), self._tempo.flush()]
        resampled = [self._resampler.push(np.concatenate(spoken)), self._resampler.flush()]
        rest = self._blender.push(np.concatenate(resampled))
        last = np.concatenate([rest, self._blender.end(gap_ms=gap_ms, overlap=overlap)])
        return self._number(self._framer.push(last) + self._framer.flush())

    def _new_filters(self) -> None:
        self._trimmer = Trimmer(sample_rate_hz=self._from_hz)
        self._tempo = Tempo(sample_rate_hz=self._from_hz, speed=self._speed)
        self._resampler = StreamResampler(from_hz=self._from_hz, to_hz=self._to_hz)

    def _number(self, frames: list[bytes]) -> list[AudioFrame]:
        numbered: list[AudioFrame] = []
        for pcm in frames:
            numbered.append(AudioFrame(pcm=pcm, first_sample=self.samples))
            self.samples += len(pcm) // 2
        return numbered
