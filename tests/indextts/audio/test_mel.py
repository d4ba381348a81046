from __future__ import annotations

import numpy as np
import pytest
import torch

from indextts.audio.mel import MelSpectrogram, hz_to_slaney, slaney_matrix, slaney_to_hz


def test_the_scale_turns_round() -> None:
    hz = np.array([0.0, 30.0, 999.0, 1000.0, 1001.0, 4000.0, 11025.0])
    mel = np.array([hz_to_slaney(value) for value in hz])
    assert (np.diff(mel) > 0).all()
    assert np.abs(slaney_to_hz(mel) - hz).max() < 1e-8


def test_every_band_hears_something_and_has_the_same_area() -> None:
    matrix = slaney_matrix(22050, 1024, 80, 0.0, 11025.0)
    assert matrix.shape == (80, 513)
    assert (matrix >= 0).all() and (matrix.max(1) > 0).all()
    # Area in Hz is 1 where a triangle spans enough bins to be sampled well.
    assert np.abs(matrix[60:].sum(1) * 22050 / 1024 - 1).max() < 0.02


def test_a_tone_lands_in_its_band() -> None:
    mel = MelSpectrogram()
    tone = torch.sin(2 * torch.pi * 2000 * torch.arange(22050) / 22050)[None]
    centres = slaney_to_hz(np.linspace(0, hz_to_slaney(11025), 82))[1:-1]
    loudest = int(mel(tone)[0, :, 40].argmax())
    assert abs(centres[loudest] - 2000) < 100


@pytest.mark.parametrize("samples", [385, 1024, 5000, 22050])
def test_frames_are_foretold(samples: int) -> None:
    mel = MelSpectrogram()
    assert mel(torch.randn(1, samples)).shape == (1, 80, mel.frames(samples))


@pytest.mark.parametrize("samples", [0, 1, 384])
def test_too_short_is_refused(samples: int) -> None:
    with pytest.raises(ValueError, match="more than 384 samples"):
        MelSpectrogram()(torch.zeros(1, samples))


def test_silence_is_the_floor_and_batches_equal_singles() -> None:
    mel = MelSpectrogram(n_mels=20)
    rows = torch.stack([torch.zeros(3000), torch.randn(3000)])
    both = mel(rows)
    # Silence leaves sqrt(1e-9) per bin, weighted by each band.
    floor = torch.log((mel.basis.sum(1) * 1e-9**0.5).clamp_min(1e-5))
    assert torch.allclose(both[0], floor[:, None].expand_as(both[0]), atol=1e-5)
    assert torch.allclose(both[1:], mel(rows[1:]), atol=1e-5)


def test_gradients_reach_the_samples() -> None:
    samples = torch.randn(1, 2000, requires_grad=True)
    MelSpectrogram(n_mels=20)(samples).sum().backward()
    assert samples.grad is not None and bool(samples.grad.isfinite().all())
    assert samples.grad.abs().sum() > 0


def test_nothing_is_saved() -> None:
    assert not MelSpectrogram().state_dict()
