"""The command line against a real socket: options, output, exit codes, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result
from websockets.asyncio.server import ServerConnection

import client.cli
import client.commands
from client.commands import app
from client.playback import SilentOutput
from tests.client.peer import FRAME_SAMPLES, RATE_HZ, Peer, failure, ramp, serving_thread

ROOT = Path(__file__).parents[2]
PCM = ramp(0, 5 * FRAME_SAMPLES)


@pytest.fixture
def peer() -> Iterator[Peer]:
    with serving_thread(Peer()) as running:
        yield running


def call(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin)


def read(path: Path) -> tuple[int, bytes]:
    with wave.open(str(path)) as file:
        return file.getframerate(), file.readframes(file.getnframes())


def test_say_writes_a_wav_and_prints_what_a_listener_notices(peer: Peer, tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    result = call("say", "Hello.", "--url", peer.url, "--output", str(out))
    assert result.exit_code == 0, result.output
    assert read(out) == (RATE_HZ, PCM)
    for name in ["time to first audio", "real-time factor", "gaps", "longest gap", "written to"]:
        assert name in result.stdout
    assert "0.50 s" in result.stdout and "0.250" in result.stdout
    assert peer.text() == "Hello."


def test_every_option_reaches_the_server(peer: Peer, tmp_path: Path) -> None:
    options = ["--voice", "anna", "--language", "en", "--emotion", "sad", "--seed", "7"]
    out = str(tmp_path / "x.wav")
    assert call("say", "Hi", "--url", peer.url, "-o", out, *options).exit_code == 0
    config = peer.received[0]
    assert config["voice"] == "anna" and config["language"] == "en"
    assert config["emotion"]["vector"] == [0, 0, 1, 0, 0, 0, 0, 0]
    assert config["sampling"] == {"seed": 7}
    assert "max_lead_s" not in config


def test_an_emotion_may_be_eight_values(peer: Peer, tmp_path: Path) -> None:
    values = "0.1,0,0,0 0 0,0 0.5"
    out = str(tmp_path / "x.wav")
    assert call("say", "Hi", "--url", peer.url, "-o", out, "--emotion", values).exit_code == 0
    assert peer.received[0]["emotion"]["vector"] == [0.1, 0, 0, 0, 0, 0, 0, 0.5]


def test_json_is_one_line_for_machines(peer: Peer) -> None:
    result = call("say", "Hello.", "--url", peer.url, "--no-play", "--json")
    report = json.loads(result.stdout)
    assert report["audio_s"] == pytest.approx(0.5)
    assert report["first_audio_ms"] > 0 and report["rtf"] > 0
    assert (report["samples"], report["chunks"], report["sample_rate_hz"]) == (
        5 * FRAME_SAMPLES,
        1,
        RATE_HZ,
    )
    assert report["server"] == {"rtf": 0.25}
    assert (report["cancelled"], report["output"], report["underruns"]) == (False, None, None)


def test_audio_can_go_to_standard_output(peer: Peer) -> None:
    result = call("say", "Hello.", "--url", peer.url, "-o", "-")
    assert result.stdout_bytes[44:] == PCM
    assert "time to first audio" in result.stderr
    assert call("say", "Hi", "--url", peer.url, "-o", "-", "--json").exit_code == 2


def test_without_a_device_it_plays_to_nobody_in_real_time(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.commands, "find_output", SilentOutput)
    start_s = time.monotonic()
    result = call("say", "Hello.", "--url", peer.url, "--json")
    assert result.exit_code == 0 and time.monotonic() - start_s >= 0.5
    assert json.loads(result.stdout)["underruns"] == 0
    assert "playing to nobody" in result.stderr
    assert peer.received[0]["max_lead_s"] == 60


@pytest.mark.parametrize(
    ("by", "texts"),
    [("line", ["One two.\n", "\n", "Three"]), ("token", ["One ", "two.\n\n", "Three"])],
)
def test_stream_sends_standard_input_as_it_comes(peer: Peer, by: str, texts: list[str]) -> None:
    result = call("stream", "--by", by, "--url", peer.url, "--no-play", stdin=b"One two.\n\nThree")
    assert result.exit_code == 0, result.output
    sent = [message["text"] for message in peer.received if message["type"] == "input.text"]
    assert sent == texts
    assert ("input.flush" in peer.types()) == (by == "line")


def test_voices_are_listed(peer: Peer) -> None:
    result = call("voices", "--url", peer.url)
    assert result.exit_code == 0
    assert "warm [bold]voice" in result.stdout
    assert "not available: bert.wav: the recording is empty" in " ".join(result.stdout.split())
    listed = json.loads(call("voices", "--url", peer.url, "--json").stdout)
    assert [voice["id"] for voice in listed["voices"]] == ["anna", "bert"]


def test_options_of_a_subcommand_belong_behind_it(peer: Peer) -> None:
    result = call("voices", "--url", peer.url, "remove", "anna")
    assert result.exit_code == 2 and "belong behind" in result.stderr


def test_it_waits_until_the_server_is_ready(peer: Peer) -> None:
    peer.ready_after = 2
    assert call("say", "Hi", "--url", peer.url, "--no-play", "--wait-ready", "10").exit_code == 0
    assert peer.asked_ready == 3
    peer.ready_after = 10**6
    late = call("voices", "--url", peer.url, "--wait-ready", "0.3")
    assert late.exit_code == 3 and "not ready within 0.3 s" in late.stderr


def test_a_refusal_is_exit_code_1_with_its_code_and_no_file(peer: Peer, tmp_path: Path) -> None:
    async def script(_: Peer, socket: ServerConnection, message: dict[str, Any]) -> bool:
        if message["type"] == "input.text":
            await socket.send(failure("unknown_voice", message["context_id"]))
        return True

    peer.script = script
    result = call("say", "Hi", "--url", peer.url, "-o", str(tmp_path / "x.wav"), "--json")
    assert result.exit_code == 1
    assert "error (unknown_voice): it is unknown_voice" in result.stderr
    assert json.loads(result.stdout)["error"]["code"] == "unknown_voice"
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_the_middle_leaves_no_half_file(peer: Peer, tmp_path: Path) -> None:
    async def script(_: Peer, socket: ServerConnection, message: dict[str, Any]) -> bool:
        if message["type"] == "input.done":
            await peer.speak(socket, "somebody else's")
            await socket.close(1011, "trouble")
        return False

    peer.script = script
    result = call("say", "Hi", "--url", peer.url, "-o", str(tmp_path / "x.wav"))
    assert result.exit_code == 3 and "close code 1011: trouble" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_speak_is_exit_code_1(peer: Peer, tmp_path: Path) -> None:
    peer.frames = 0
    result = call("say", "...", "--url", peer.url, "-o", str(tmp_path / "x.wav"))
    assert result.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_exit_code_1(peer: Peer, tmp_path: Path) -> None:
    result = call("say", "Hi", "--url", peer.url, "-o", str(tmp_path / "none" / "x.wav"))
    assert result.exit_code == 1
    assert f"error (local): {tmp_path / 'none' / 'x.wav'}: No such file" in result.stderr
    result = call("say", "Hi", "--url", peer.url, "-o", str(tmp_path))
    assert result.exit_code == 1 and "Is a directory" in result.stderr
    assert peer.contexts == 0  # nobody is asked to speak for nothing


def test_ctrl_c_while_the_rest_is_played_ends_with_130(peer: Peer) -> None:
    peer.frames = 50
    process = subprocess.Popen(
        [sys.executable, "index_tts_client.py", "say", "Hi", "--url", peer.url, "--play", "--json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    _until(lambda: peer.contexts == 1)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=10)
    assert process.returncode == 130
    assert json.loads(printed)["cancelled"]
    assert "input.cancel" not in peer.types()


def test_no_server_is_exit_code_3() -> None:
    with serving_thread(Peer()) as gone:
        url = gone.url
    result = call("say", "Hi", "--url", url, "--no-play")
    assert result.exit_code == 3 and "cannot connect" in result.stderr
    assert call("voices", "--url", "nonsense").exit_code == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["say"],
        ["say", "Hi", "--emotion", "furious"],
        ["say", "Hi", "--emotion", "1,2,3"],
        ["say", "Hi", "--seed", "-1"],
        ["say", "Hi", "--seed", "x"],
        ["say", "Hi", "--voice", "x" * 100],
        ["stream", "--by", "page"],
        ["sing"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    assert call(*arguments).exit_code == 2


def test_help_tells_commands_and_exit_codes() -> None:
    text = call("--help").stdout
    assert all(word in text for word in ["say", "stream", "voices", "Exit codes", "130"])
    assert all(word in call("say", "--help").stdout for word in ["--wait-ready", "melancholic"])


@pytest.mark.parametrize("played", [True, False])
def test_ctrl_c_cancels_keeps_what_was_heard_and_ends_with_130(
    peer: Peer, tmp_path: Path, played: bool
) -> None:
    peer.endless, peer.delay_s = True, 0.02
    out = tmp_path / "x.wav"
    arguments = ["say", "A long story.", "--url", peer.url, "-o", str(out), "--json"]
    process = subprocess.Popen(
        [sys.executable, "index_tts_client.py", *arguments, *(["--play"] if played else [])],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process.stdout:
        _until(lambda: peer.contexts == 1)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        printed = process.stdout.read()
        assert process.wait(10) == 130
    report = json.loads(printed)
    cancel = next(message for message in peer.received if message["type"] == "input.cancel")
    assert report["cancelled"] and report["heard_text_end"] == 3
    assert len(read(out)[1]) == 2 * report["samples"] > 0
    assert ("played_samples" in cancel) == played
    if played:
        assert 0 < cancel["played_samples"] < report["samples"]


def test_ctrl_c_while_waiting_for_a_line_ends_at_once(peer: Peer) -> None:
    process = subprocess.Popen(
        [sys.executable, "index_tts_client.py", "stream", "--url", peer.url, "--no-play"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    with process.stdin:
        process.stdin.write(b"Hello.\n")
        process.stdin.flush()
        _until(lambda: peer.text() != "")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    assert peer.types()[-1] == "input.cancel"


def _until(condition: Any) -> None:
    until_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.01)


def test_the_client_runs_without_torch_and_the_server_parts() -> None:
    code = (
        "import sys, client.cli, client.commands, client.connection, client.http;"
        "heavy = {'torch', 'transformers', 'starlette', 'soundfile', 'indextts', 'speakers'};"
        "sys.exit(sorted(heavy & set(sys.modules)) or 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_what_is_not_installed_is_named_with_the_command_that_mends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(client.cli, "NEEDED", ("httpx", "no_such_package"))
    assert client.cli.main() == 4
    told = capsys.readouterr().err
    assert told == (
        "indextts-client needs no_such_package. Install with:\n"
        f"  {sys.executable} -m pip install no_such_package\n"
    )


def test_the_name_of_the_forks_works() -> None:
    environment = {**os.environ, "COLUMNS": "80"}
    result = subprocess.run(
        [sys.executable, "index_tts_client.py", "--help"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0 and b"voices" in result.stdout
