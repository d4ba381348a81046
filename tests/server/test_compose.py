"""What compose makes of settings, on a tiny random checkpoint."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server.compose import OPERATOR_ERRORS, compose, shipped_speakers
from server.config import Settings
from tests.indextts.tiny_checkpoint import write_safetensors
from tests.speakers.sounds import noise


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    write_safetensors(tmp_path / "tiny")
    (tmp_path / "a.wav").write_bytes(noise(1.5))
    speakers = tmp_path / "speaker.json"
    speakers.write_text(json.dumps({"anna": ["a.wav"]}))
    return Settings(
        model=str(tmp_path / "tiny"), voices=(speakers,), voice_cache=tmp_path / "cache"
    )


async def test_voices_are_kept_between_runs(settings: Settings) -> None:
    assert settings.voice_cache is not None
    for _ in range(2):
        service = compose(settings)
        assert service.info.name == "tiny"
        async with service.running():
            await service.warmed.wait()
        kept = list(settings.voice_cache.glob("*.npz"))
        assert len(kept) == 1
    modified = kept[0].stat().st_mtime_ns
    service = compose(settings)
    async with service.running():
        await service.warmed.wait()
    assert len(list(settings.voice_cache.glob("*.npz"))) == 1
    assert kept[0].stat().st_mtime_ns >= modified


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"engine": "vllm"}, "engine"),
        ({"device": "npu"}, "npu"),
        ({"dtype": "float16", "device": "cpu"}, "float16"),
        ({"model": "/nowhere"}, "config.yaml"),
        ({"voices": (Path("/nowhere/speaker.json"),)}, "speaker.json"),
    ],
)
def test_what_cannot_be_is_explained(
    settings: Settings, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(OPERATOR_ERRORS, match=words):
        compose(replace(settings, **changes))


def test_the_shipped_speakers_are_there() -> None:
    assert shipped_speakers().is_file()
