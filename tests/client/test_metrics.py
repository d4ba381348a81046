"""What a listener notices, on made-up arrivals."""

from __future__ import annotations

import pytest

from client.metrics import Meter


def test_nothing_heard_has_no_numbers() -> None:
    meter = Meter()
    meter.ask(1.0)
    metrics = meter.metrics()
    assert metrics.first_audio_ms is None and metrics.rtf is None
    assert (metrics.audio_s, metrics.gaps, metrics.longest_gap_ms) == (0.0, 0, 0.0)


def test_a_smooth_stream_has_no_gaps() -> None:
    meter = Meter()
    meter.ask(10.0)
    meter.ask(10.5)
    for at_s in [10.3, 11.3, 12.3]:
        meter.hear(at_s, 22_050, 22_050)
    metrics = meter.metrics()
    assert metrics.first_audio_ms == pytest.approx(300)
    assert metrics.audio_s == 3.0
    assert metrics.total_s == pytest.approx(2.3)
    assert metrics.rtf == pytest.approx(2.3 / 3)
    assert (metrics.gaps, metrics.longest_gap_ms) == (0, 0.0)


def test_gaps_are_what_a_player_starting_200_ms_after_the_first_byte_hears() -> None:
    meter = Meter()
    meter.ask(0.0)
    meter.hear(1.0, 1_000, 10_000)  # plays 1.2 to 1.3
    meter.hear(1.25, 1_000, 10_000)  # to 1.4
    meter.hear(1.9, 1_000, 10_000)  # 500 ms of silence, then to 2.0
    meter.hear(2.1, 10_000, 10_000)  # 100 ms of silence, then to 3.1
    meter.hear(3.0, 10, 10_000)
    metrics = meter.metrics()
    assert metrics.gaps == 2
    assert metrics.longest_gap_ms == pytest.approx(500)
