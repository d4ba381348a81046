"""Stage ``voices``: speaker.json and the recordings it names, spoken by the teacher."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from training.corpus import RATE_HZ
from training.people import SPEAKERS
from training.teacher import Teacher


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a speaker of speaker.json says in the recording, and how the voice is described."""

    text: str
    description: str
    aliases: tuple[str, ...] = ()


SAMPLES: dict[str, Sample] = {
    "ada": Sample(
        text="Good morning. I read the letters and left them on the kitchen table.",
        description="A clear American woman, the teacher's own voice",
        aliases=("female",),
    ),
    "boris": Sample(
        text="The train to the coast leaves at noon, and the station is not far away.",
        description="A deep man",
        aliases=("male",),
    ),
    "clara": Sample(
        text="We walked along the river until the lamps of the village came into view.",
        description="A low, warm woman",
    ),
    "dana": Sample(
        text="Please open the window, the garden smells wonderful after the summer rain.",
        description="A bright, young voice",
    ),
}
"""The speakers that are shipped, the default one first; each is one of ``people.SPEAKERS``."""

NOTE = """# Reference recordings

Nobody was recorded. These sentences were synthesized with hibari-tts 0.2.1 (Apache-2.0), its voice
changed in pitch and size for all speakers but `ada`, by `python -m training voices`.
They may be used under the Apache-2.0 licence of this project.
"""


def write_voices(registry: Path) -> list[str]:
    """Write ``registry`` and its recordings beside it, under speakers/audio; returns the names."""
    teacher, folder = Teacher(), registry.parent / "speakers" / "audio"
    folder.mkdir(parents=True, exist_ok=True)
    entries = {}
    for name, sample in SAMPLES.items():
        wave, _ = teacher.speak(teacher.phonemize(sample.text), SPEAKERS[name], seed=7)
        path = folder / f"{name}.flac"
        soundfile.write(path, (wave * 32767).astype(np.int16), RATE_HZ)
        entries[name] = {
            "recordings": [path.relative_to(registry.parent).as_posix()],
            "description": sample.description,
            "language": "en",
            "aliases": list(sample.aliases),
        }
    registry.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(NOTE, encoding="utf-8")
    return list(entries)
