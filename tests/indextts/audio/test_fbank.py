from __future__ import annotations

import pytest
import torch

from indextts.audio.fbank import campplus_features, kaldi_fbank, seamless_features


def test_batches_equal_singles() -> None:
    rows = 0.1 * torch.randn(3, 4000)
    banks, (inputs, masks) = kaldi_fbank(rows), seamless_features(rows)
    for row in range(3):
        alone = rows[row : row + 1]
        assert torch.allclose(banks[row : row + 1], kaldi_fbank(alone), atol=1e-6)
        single, mask = seamless_features(alone)
        assert torch.allclose(inputs[row : row + 1], single, atol=1e-6)
        assert torch.equal(masks[row : row + 1], mask)


@pytest.mark.parametrize("samples", [400, 559, 560, 16000])
def test_frames_are_whole_frames_only(samples: int) -> None:
    bank = kaldi_fbank(torch.randn(1, samples))
    assert bank.shape == (1, 1 + (samples - 400) // 160, 80)
    assert bank.dtype == torch.float32


def test_loudness_is_gone_from_what_the_encoders_hear() -> None:
    generator = torch.Generator().manual_seed(0)
    quiet = 0.2 * torch.randn(1, 8000, generator=generator)  # well above the floor of the log
    assert torch.allclose(campplus_features(quiet), campplus_features(4 * quiet), atol=1e-4)
    assert torch.allclose(seamless_features(quiet)[0], seamless_features(4 * quiet)[0], atol=1e-4)


def test_an_odd_frame_is_paired_with_padding() -> None:
    samples = torch.randn(1, 400 + 160 * 4)
    inputs, mask = seamless_features(samples)
    assert inputs.shape == (1, 3, 160)
    assert mask.tolist() == [[1, 1, 0]]
    assert torch.equal(inputs[0, 2, 80:], torch.ones(80))
    assert seamless_features(torch.randn(1, 400 + 160 * 3))[1].tolist() == [[1, 1]]


def test_silence_is_finite() -> None:
    silence = torch.zeros(1, 4000)
    assert kaldi_fbank(silence).isfinite().all()
    assert seamless_features(silence)[0].abs().max() <= 1


@pytest.mark.parametrize("samples", [0, 1, 399])
def test_less_than_a_frame_is_refused(samples: int) -> None:
    with pytest.raises(ValueError, match="at least 400 samples"):
        kaldi_fbank(torch.zeros(1, samples))


def test_one_frame_has_no_deviation() -> None:
    with pytest.raises(ValueError, match="two frames"):
        seamless_features(torch.randn(1, 559))
