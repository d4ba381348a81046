from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from indextts.audio.resample import load_resample, sinc_resample


def sine(hz: float, rate_hz: int, seconds: float = 0.5) -> np.ndarray:
    time = np.arange(int(rate_hz * seconds)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * hz * time)).astype(np.float32)


@pytest.mark.parametrize(("from_hz", "to_hz"), [(22050, 16000), (16000, 22050), (48000, 16000)])
@pytest.mark.parametrize("samples", [1, 2, 440, 441, 442, 5000])
def test_the_length_is_rounded_up(from_hz: int, to_hz: int, samples: int) -> None:
    wanted = math.ceil(samples * to_hz / from_hz)
    assert sinc_resample(torch.randn(2, samples), from_hz, to_hz).shape == (2, wanted)
    noise = np.random.default_rng(0).standard_normal(samples).astype(np.float32)
    assert load_resample(noise, from_hz, to_hz).shape == (wanted,)


@pytest.mark.parametrize("hz", [220.0, 1000.0, 5000.0])
def test_both_keep_a_sine(hz: float) -> None:
    wanted = sine(hz, 16000)[200:-200]
    heard = sine(hz, 22050)
    sinc = sinc_resample(torch.from_numpy(heard)[None], 22050, 16000)[0].numpy()
    soxr = load_resample(heard, 22050, 16000)
    # The windowed sinc is the reference's: six zero crossings ripple by about 0.5 %.
    assert np.abs(sinc[200:-200] - wanted).max() < 5e-3
    assert np.abs(soxr[200:-200] - wanted).max() < 1e-3


def test_what_the_lower_rate_cannot_hold_is_gone() -> None:
    heard = torch.from_numpy(sine(10_000.0, 22050))[None]
    assert sinc_resample(heard, 22050, 16000)[0, 200:-200].abs().max() < 0.02


def test_rows_do_not_touch_each_other() -> None:
    rows = torch.randn(3, 3000)
    together = sinc_resample(rows, 22050, 16000)
    for row, alone in enumerate(rows):
        assert torch.allclose(together[row], sinc_resample(alone[None], 22050, 16000)[0], atol=1e-6)


def test_equal_rates_change_nothing() -> None:
    noise = np.random.default_rng(1).standard_normal(100).astype(np.float32)
    assert np.array_equal(load_resample(noise, 16000, 16000), noise)
    same = torch.from_numpy(noise)[None]
    assert torch.equal(sinc_resample(same, 8000, 8000), same)
