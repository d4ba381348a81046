"""The wheel, installed away from the checkout, finds its checkpoint and its speakers and speaks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import wave
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SPEAK = """
import asyncio, json, sys
from server.compose import compose, shipped_speakers
from server.config import Settings
from indextts.checkpoint import find_checkpoint
from streaming.request import SynthesisRequest
from streaming.events import AudioFrame
from server.feed import TextFeed
from streaming.fields import SpeechConfig
import server

async def speak():
    service = compose(Settings())
    samples = 0
    async with service.running():
        await service.warmed.wait()
        async for event in service.speak("r", SpeechConfig(), TextFeed.whole("Hello there.")):
            samples += event.samples if isinstance(event, AudioFrame) else 0
    return samples

if __name__ == "__main__":
    print(json.dumps({
        "server": server.__file__,
        "checkpoint": str(find_checkpoint("nano")),
        "speakers": str(shipped_speakers()),
        "samples": asyncio.run(speak()),
    }))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    built = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-2000:]
    (wheel,) = folder.glob("*.whl")
    target = folder / "site"
    zipfile.ZipFile(wheel).extractall(target)
    return target


def run(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=site, env=environment, capture_output=True, text=True
    )


def test_the_wheel_holds_no_tests_and_no_training(site: Path) -> None:
    names = {path.name for path in site.iterdir()}
    assert {"streaming", "speakers", "indextts", "server", "client", "indextts_stream"} <= names
    assert not names & {"tests", "training", "bench", "checkpoints"}


def test_the_installed_server_speaks(site: Path) -> None:
    (site / "speak.py").write_text(SPEAK)
    done = run(site, "speak.py")
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    for name in ("server", "checkpoint", "speakers"):
        assert Path(found[name]).is_relative_to(site), found
    assert found["samples"] > 5_000


def test_the_installed_commands_explain_themselves(site: Path, tmp_path: Path) -> None:
    for module in ("server.cli", "client.cli"):
        code = f"from {module} import main; main()"
        done = run(site, "-c", code, "--help")
        assert done.returncode == 0, done.stderr
        assert "Usage" in done.stdout


def test_the_readme_promises_a_wav(tmp_path: Path) -> None:
    out = tmp_path / "demo.wav"
    done = subprocess.run(
        [str(ROOT / "scripts" / "demo"), "Good morning to you.", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "time to first audio" in done.stdout and "real-time factor" in done.stdout
    with wave.open(str(out)) as sound:
        assert sound.getframerate() == 22_050
        assert 0.5 < sound.getnframes() / sound.getframerate() < 10
