"""WAV files: right sizes, whole files or none, streams that cannot seek."""

from __future__ import annotations

import io
import os
import stat
import threading
import wave
from pathlib import Path

import pytest

import client.recording
from client.recording import WavWriter
from streaming.wav import wav_header

PCM = bytes(range(256)) * 40


def read(path: Path) -> tuple[int, int, int, bytes]:
    with wave.open(str(path)) as file:
        frames = file.readframes(file.getnframes())
        return file.getframerate(), file.getnchannels(), file.getsampwidth(), frames


def test_a_file_has_true_sizes_and_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    path.write_text("what was there before")
    writer = WavWriter(path, sample_rate_hz=22_050)
    for start in range(0, len(PCM), 1_000):
        writer.write(PCM[start : start + 1_000])
    assert path.read_text() == "what was there before"
    writer.close()
    assert read(path) == (22_050, 1, 2, PCM)
    assert path.read_bytes()[4:8] == (36 + len(PCM)).to_bytes(4, "little")
    assert [item.name for item in tmp_path.iterdir()] == ["speech.wav"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError),
        WavWriter(tmp_path / "speech.wav", sample_rate_hz=8_000) as writer,
    ):
        writer.write(PCM)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.wav").symlink_to("speech.wav")
    with WavWriter(tmp_path / "link.wav", sample_rate_hz=8_000) as writer:
        writer.write(PCM)
    assert (tmp_path / "link.wav").is_symlink()
    assert read(tmp_path / "speech.wav")[3] == PCM


def test_a_pipe_gets_a_stream_with_unknown_sizes(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    with WavWriter(pipe, sample_rate_hz=8_000) as writer:
        writer.write(PCM)
    reader.join(5)
    assert got == [wav_header(8_000) + PCM]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_stream_that_can_seek_is_mended_and_stays_open() -> None:
    stream = io.BytesIO()
    stream.write(b"before")
    with WavWriter(stream, sample_rate_hz=24_000) as writer:
        writer.write(PCM)
    assert not stream.closed
    assert stream.getvalue() == b"before" + wav_header(24_000, data_bytes=len(PCM)) + PCM


def test_more_than_a_header_can_say_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.recording, "MAX_DATA_BYTES", 100)
    with (
        pytest.raises(OverflowError),
        WavWriter(tmp_path / "speech.wav", sample_rate_hz=8_000) as writer,
    ):
        writer.write(PCM)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        WavWriter(tmp_path / "none" / "speech.wav", sample_rate_hz=8_000)
