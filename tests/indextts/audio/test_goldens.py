from __future__ import annotations

from indextts.goldens.v2_voice import check_audio_features
from tests.indextts.v2.goldens import failures, golden_arrays, golden_context, with_unknown

FILE = "audio_features.npz"


def test_goldens() -> None:
    arrays = golden_arrays(FILE)
    checks = check_audio_features(arrays, golden_context(FILE))
    assert failures(checks) == {}
    assert len(checks) == len(arrays) - 1  # the recording itself


def test_the_resampler_is_equal_to_the_last_bit() -> None:
    checks = check_audio_features(golden_arrays(FILE), golden_context(FILE))
    errors = {check.name.partition(":")[2]: check.max_error for check in checks}
    assert errors["wav16k_torchaudio"] == 0.0


def test_any_number_of_rows_and_nothing_unknown() -> None:
    arrays = golden_arrays(FILE)
    arrays["seamless_odd_input_features"] = arrays["seamless_odd_input_features"][:, -2:]
    failed = failures(check_audio_features(with_unknown(arrays), golden_context(FILE)))
    assert set(failed) == {"surprise"}
