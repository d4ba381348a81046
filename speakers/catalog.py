"""The speaker catalog: speaker.json, checked.

Two forms may be mixed in one file::

    {"anna": ["anna-1.wav", "anna-2.wav"],
     "bert": {"recordings": ["bert.flac"], "description": "...", "language": "en",
              "aliases": ["onyx"]}}

Paths are relative to the file and stay inside its folder. The first speaker is the default.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from speakers.recording import LoadedRecording, load_recording
from streaming.errors import BadConfig, BadRecording, ReferenceRefused, SpeechError, UnknownVoice
from streaming.speech import Recording

OPENAI_VOICES = (
    "alloy",
    "ash",
    "ballad",
    "cedar",
    "coral",
    "echo",
    "fable",
    "marin",
    "nova",
    "onyx",
    "sage",
    "shimmer",
    "verse",
)
"""Names that clients of OpenAI's API send without asking which voices there are."""

MAX_FILE_BYTES = 1_000_000
MAX_SPEAKERS = 1_000
MAX_RECORDINGS = 8
MAX_ALIASES = 32
MAX_DESCRIPTION_CHARS = 500

_NAME = re.compile(r"[\w.-]{1,64}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,3}")
_FIELDS = frozenset({"recordings", "description", "language", "aliases"})

Load: TypeAlias = Callable[[Path], LoadedRecording]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """A named person and the files that hold the voice.

    ``sha256s`` has one hash per file, as it was checked; ``unavailable`` tells why the speaker
    cannot be used. ``warnings`` and ``unavailable`` are safe to show. ``owner`` is the key of whom
    uploaded the voice, ``None`` for one of speaker.json.
    """

    name: str
    files: tuple[Path, ...]
    sha256s: tuple[str, ...] = ()
    description: str = ""
    language: str | None = None
    aliases: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    unavailable: str | None = None
    owner: str | None = None

    @property
    def key(self) -> str:
        """Content hash of the recordings together."""
        return recordings_key(self.sha256s)

    def load(self) -> tuple[Recording, ...]:
        """Decode the recordings again; blocking.

        Raises ``UnknownVoice`` when a file is no longer what was checked, so that a voice is never
        cached under the hash of another.
        """
        loaded = []
        for file, sha256 in zip(self.files, self.sha256s, strict=True):
            try:
                recording = load_recording(file).recording
            except BadRecording as error:
                raise UnknownVoice(f"voice {self.name!r} is not available: {error}") from error
            if recording.sha256 != sha256:
                raise UnknownVoice(f"the recordings of voice {self.name!r} have changed")
            loaded.append(recording)
        return tuple(loaded)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """All speakers in file order, with at least one that can be used."""

    speakers: tuple[Speaker, ...]
    default: Speaker
    table: Mapping[str, Speaker]
    etag: str

    def resolve(self, name: str | None) -> Speaker:
        """The speaker of that name or alias, the default for ``None``; raises ``UnknownVoice``."""
        if name is None:
            return self.default
        speaker = self.table.get(name)
        if speaker is None:
            raise UnknownVoice("there is no voice of that name", param="voice")
        if speaker.unavailable is not None:
            raise UnknownVoice(
                f"voice {speaker.name!r} is not available: {speaker.unavailable}", param="voice"
            )
        return speaker


def recordings_key(sha256s: Iterable[str]) -> str:
    """Content hash of one voice made of these recordings, in this order."""
    return hashlib.sha256("\n".join(sha256s).encode()).hexdigest()


def load_catalog(path: Path, *, allow_outside: bool = False) -> Catalog:
    """The catalog of one speaker.json; blocking. Raises as ``load_speakers`` does."""
    return make_catalog(load_speakers(path, allow_outside=allow_outside))


def make_catalog(speakers: tuple[Speaker, ...]) -> Catalog:
    """The catalog of checked speakers, at least one of which can be used."""
    usable = [speaker for speaker in speakers if speaker.unavailable is None]
    return Catalog(
        speakers=speakers,
        default=usable[0],
        table=_alias_table(speakers, usable),
        etag=_etag(speakers),
    )


def load_speakers(
    path: Path, *, allow_outside: bool = False, load: Load = load_recording
) -> tuple[Speaker, ...]:
    """Read speaker.json and check every recording it names; blocking.

    ``allow_outside`` lets the operator name recordings outside the file's folder. Raises
    ``BadConfig`` when the file is not a speaker catalog or none of its speakers can be used.
    """
    folder = None if allow_outside else path.parent.resolve()
    speakers = tuple(
        _check(entry, path.parent, folder, load)
        for entry in map(_parse, *_entries(_read_json(path)))
    )
    if all(speaker.unavailable for speaker in speakers):
        reasons = "; ".join(f"{s.name}: {s.unavailable}" for s in speakers[:5])
        raise BadConfig(f"no speaker of {path.name} can be used ({reasons})", param="speakers")
    return speakers


def _alias_table(speakers: tuple[Speaker, ...], usable: list[Speaker]) -> dict[str, Speaker]:
    """Names first, then aliases (the first usable speaker that claims one), then OpenAI's names."""
    table = {speaker.name: speaker for speaker in speakers}
    for speaker in (*usable, *speakers):
        for alias in speaker.aliases:
            table.setdefault(alias, speaker)
    for alias in OPENAI_VOICES:
        table.setdefault(alias, usable[0])
    return table


def _etag(speakers: tuple[Speaker, ...]) -> str:
    """Changes whenever anything a client can see or hear of the speakers changes."""
    public = [
        [s.name, s.sha256s, s.description, s.language, s.aliases, s.unavailable, bool(s.owner)]
        for s in speakers
    ]
    return hashlib.sha256(json.dumps(public).encode()).hexdigest()[:16]


def _check(speaker: Speaker, base: Path, folder: Path | None, load: Load) -> Speaker:
    """The speaker with the hashes of its recordings, or with the reason why it cannot be used."""
    files: list[Path] = []
    sha256s: list[str] = []
    warnings: list[str] = []
    unavailable = None
    for file in speaker.files:
        try:
            inside = _inside(base / file, folder)
            loaded = load(inside)
        except SpeechError as error:
            unavailable = f"{file.name}: {error.message}"
            logger.warning("speaker %s is not available: %s", speaker.name, unavailable)
            break
        files.append(inside)
        sha256s.append(loaded.recording.sha256)
        if loaded.warning is not None:
            warnings.append(f"{file.name}: {loaded.warning}")
    return replace(
        speaker,
        files=tuple(files),
        sha256s=tuple(sha256s),
        warnings=tuple(warnings),
        unavailable=unavailable,
    )


def _inside(file: Path, folder: Path | None) -> Path:
    """The path with its links resolved; raises ``ReferenceRefused`` when it leaves ``folder``."""
    try:
        resolved = file.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise BadRecording("the recording cannot be read") from error
    if folder is not None and not resolved.is_relative_to(folder):
        raise ReferenceRefused("the recording is outside the folder of the speaker file")
    return resolved


def _entries(data: dict[str, Any]) -> tuple[list[str], list[Any]]:
    if not 1 <= len(data) <= MAX_SPEAKERS:
        _refuse(f"it must name 1 to {MAX_SPEAKERS} speakers", "speakers")
    return list(data), list(data.values())


def _parse(name: str, value: Any) -> Speaker:
    """One entry of either form, its shape checked and its files not yet opened."""
    check_name(name, "speakers")
    fields = value if isinstance(value, dict) else {"recordings": value}
    if unknown := fields.keys() - _FIELDS:
        _refuse(f"unknown field {min(unknown)!r}", name)
    description = check_description(fields.get("description", ""), f"{name}.description")
    language = check_language(fields.get("language"), f"{name}.language")
    recordings = _strings(fields.get("recordings"), f"{name}.recordings", 1, MAX_RECORDINGS)
    aliases = _strings(fields.get("aliases", []), f"{name}.aliases", 0, MAX_ALIASES)
    if not all(map(_NAME.fullmatch, aliases)):
        _refuse("an alias is written like a name", f"{name}.aliases")
    return Speaker(
        name=name,
        files=tuple(map(Path, recordings)),
        description=description,
        language=language,
        aliases=aliases,
    )


def check_name(value: object, param: str) -> str:
    """What a speaker may be called; raises ``BadConfig``."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise BadConfig("a speaker's name is 1 to 64 letters, digits, '_', '.' or '-'", param=param)
    return value


def check_description(value: object, param: str) -> str:
    """What may be said of a speaker; raises ``BadConfig``."""
    if not isinstance(value, str) or len(value) > MAX_DESCRIPTION_CHARS:
        raise BadConfig(
            f"{param}: a string of at most {MAX_DESCRIPTION_CHARS} characters", param=param
        )
    return value


def check_language(value: object, param: str) -> str | None:
    """The language a speaker is at home in, if told; raises ``BadConfig``."""
    if value is not None and not (isinstance(value, str) and _LANGUAGE.fullmatch(value)):
        raise BadConfig(f"{param}: a language tag such as 'en' or 'zh-CN'", param=param)
    return value


def _strings(value: Any, param: str, least: int, most: int) -> tuple[str, ...]:
    good = isinstance(value, list) and least <= len(value) <= most
    if not good or not all(isinstance(item, str) and item for item in value):
        _refuse(f"a list of {least} to {most} strings", param)
    return tuple(value)


def _read_json(path: Path) -> dict[str, Any]:
    """The object in the file; raises ``BadConfig`` for anything else."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BadConfig(f"cannot read {path.name}: {error.strerror}", param="speakers") from error
    if len(raw) > MAX_FILE_BYTES:
        _refuse(f"bigger than {MAX_FILE_BYTES // 1_000_000} MB", "speakers")
    try:
        data = json.loads(raw, object_pairs_hook=_unique)
        json.dumps(data, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadConfig(f"{path.name} is not valid JSON: {error}", param="speakers") from error
    if not isinstance(data, dict):
        _refuse("it must be an object of speakers", "speakers")
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A dictionary of ``pairs``; the standard parser would keep the last of two equal names."""
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a name is given twice")
    return result


def _refuse(message: str, param: str) -> NoReturn:
    raise BadConfig(f"speaker file, {param}: {message}", param=param)
