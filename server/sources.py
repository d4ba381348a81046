"""Settings from a TOML file, the environment and flags: one table made from the dataclass.

A later source wins: defaults, file, environment, flags. A name that does not exist is refused.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeAlias, get_args, get_origin, get_type_hints

from server.config import Settings

PREFIX = "INDEXTTS_"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"
"""Names the TOML file, as ``--config`` does."""

_OF_OTHERS = {CONFIG_VARIABLE, f"{PREFIX}URL", f"{PREFIX}API_KEY", f"{PREFIX}OFFICIAL_DIR"}
_TRUTH = {"true": True, "yes": True, "on": True, "1": True}
_TRUTH |= {"false": False, "no": False, "off": False, "0": False}
_CONFIG_BYTES = 2**20
_FROM_ZERO = {"limits.queued_requests", "limits.resume_s", "limits.replay_bytes"}

Values: TypeAlias = Mapping[str, Any]
"""Checked values by the key of their setting."""


class BadSetting(ValueError):
    """A setting that does not exist or cannot be; the message is for an operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One field of ``Settings`` as an operator sees it; ``key`` is ``limits.idle_s``."""

    key: str
    kind: type
    many: bool
    optional: bool
    default: Any
    help: str = ""
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    secret: bool = False

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return PREFIX + self.key.replace(".", "_").upper()

    @property
    def flag(self) -> str:
        """Its command-line option."""
        return "--" + self.key.replace(".", "-").replace("_", "-")

    @property
    def shown_default(self) -> str:
        """What a help text says of the default, if there is one."""
        default = str(self.default).lower() if self.kind is bool else str(self.default)
        return "" if self.default in (None, "", ()) else f" [default: {default}]"

    def read(self, text: str, name: str) -> Any:
        """The value of a text; ``name`` is what the operator called it. Raises ``BadSetting``."""
        if self.many:
            return tuple(self._one(part.strip(), name) for part in text.split(",") if part.strip())
        return None if self.optional and not text else self._one(text, name)

    def check(self, value: object, name: str) -> Any:
        """A value that TOML has typed; raises ``BadSetting``."""
        if self.many:
            listed = value if isinstance(value, list) else [value]
            return tuple(self._typed(item, name) for item in listed)
        return self._typed(value, name)

    def _one(self, text: str, name: str) -> Any:
        if self.kind is bool:
            if text.lower() not in _TRUTH:
                raise BadSetting(f"{name} must be true or false, not {text!r}")
            return _TRUTH[text.lower()]
        if self.kind in (int, float):
            try:
                return self._within(self.kind(text), name)
            except ValueError as error:
                raise self._refusal(name, text) from error
        return self._typed(text, name)

    def _typed(self, value: object, name: str) -> Any:
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if self.kind is Path and isinstance(value, str) and value:
            return Path(value).expanduser()
        if type(value) is not self.kind:
            raise self._refusal(name, value)
        return self._within(value, name)

    def _within(self, value: Any, name: str) -> Any:
        fits = not self.choices or value in self.choices
        fits &= self.low is None or value >= self.low
        fits &= self.high is None or value <= self.high
        if not fits or value != value:  # NaN
            raise self._refusal(name, value)
        return value

    def _refusal(self, name: str, value: object) -> BadSetting:
        what = {bool: "true or false", int: "a whole number", float: "a number", Path: "a path"}
        wanted = what.get(self.kind, "a text")
        if self.choices:
            wanted = f"one of {', '.join(self.choices)}"
        elif self.low is not None:
            wanted += f" from {self.low:g}" + (f" to {self.high:g}" if self.high else "")
        shown = "that" if self.secret else repr(value)
        return BadSetting(f"{name} must be {wanted}, not {shown}")


def _walk(kind: Any, prefix: str = "") -> Iterator[Setting]:
    hints = get_type_hints(kind)
    for spec in fields(kind):
        hint = hints[spec.name]
        if is_dataclass(hint):
            yield from _walk(hint, f"{spec.name}.")
        else:
            yield _setting(f"{prefix}{spec.name}", hint, spec)


def _setting(key: str, hint: Any, spec: Field[Any]) -> Setting:
    """The setting of a field; limits say nothing of their range: they are positive."""
    low = None if "." not in key else 0 if key in _FROM_ZERO else 1 if hint is int else 0.01
    optional = isinstance(hint, UnionType)
    if optional:
        (hint,) = set(get_args(hint)) - {NoneType}
    many = get_origin(hint) is tuple
    return Setting(
        key=key,
        kind=get_args(hint)[0] if many else hint,
        many=many,
        optional=optional,
        default=spec.default if spec.default is not MISSING else None,
        **{"low": low, **spec.metadata},
    )


SETTINGS: Mapping[str, Setting] = {setting.key: setting for setting in _walk(Settings)}
"""Every setting by its key."""


def from_file(path: Path) -> Values:
    """What a TOML file sets; raises ``BadSetting``. Relative paths in it start at its folder."""
    try:
        with path.open("rb") as stream:
            raw = tomllib.loads(stream.read(_CONFIG_BYTES).decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadSetting(f"cannot read {path}: {reason}") from error
    values: dict[str, Any] = {}
    for key, value in _flat(raw):
        setting = _known(key, SETTINGS, f"{key} in {path}")
        checked = setting.check(value, f"{key} in {path}")
        values[key] = _beside(path.parent, checked) if setting.kind is Path else checked
    return values


def _flat(raw: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in raw.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _beside(folder: Path, value: Any) -> Any:
    return tuple(folder / one for one in value) if isinstance(value, tuple) else folder / value


def from_environment(environ: Mapping[str, str]) -> Values:
    """What the ``INDEXTTS_`` variables set; raises ``BadSetting``."""
    by_variable = {setting.variable: setting for setting in SETTINGS.values()}
    values: dict[str, Any] = {}
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in _OF_OTHERS:
            setting = _known(name, by_variable, name)
            values[setting.key] = setting.read(environ[name], name)
    return values


def from_flags(given: Mapping[str, str | bool | list[str] | None]) -> Values:
    """What flags set, by key; raises ``BadSetting``."""
    values: dict[str, Any] = {}
    for key, value in given.items():
        setting = SETTINGS[key]
        if isinstance(value, str):
            values[key] = setting.read(value, setting.flag)
        elif isinstance(value, list):
            if value:
                values[key] = setting.check(value, setting.flag)
        elif value is not None:
            values[key] = value
    return values


def _known(name: str, table: Mapping[str, Setting], shown: str) -> Setting:
    if name in table:
        return table[name]
    close = difflib.get_close_matches(name, table, 1, 0.6)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise BadSetting(f"there is no setting {shown}{hint}")


def build(layers: Iterable[Values]) -> Settings:
    """The settings; a later layer wins."""
    values: dict[str, Any] = {}
    for layer in layers:
        values |= layer
    settings: Settings = _made(Settings, values)
    return settings


def _made(kind: Any, values: Values, prefix: str = "") -> Any:
    hints = get_type_hints(kind)
    given: dict[str, Any] = {}
    for spec in fields(kind):
        key = f"{prefix}{spec.name}"
        if is_dataclass(hints[spec.name]):
            given[spec.name] = _made(hints[spec.name], values, f"{key}.")
        elif key in values:
            given[spec.name] = values[key]
    return kind(**given)


def as_toml(settings: Settings) -> str:
    """The settings as a file that ``from_file`` reads; secrets are hidden, absent ones comments."""
    lines: list[str] = []
    table = ""
    for setting in sorted(SETTINGS.values(), key=lambda one: "." in one.key):
        section, _, name = setting.key.rpartition(".")
        if section != table:
            lines += ["", f"[{section}]"]
            table = section
        value: Any = settings
        for part in setting.key.split("."):
            value = getattr(value, part)
        if setting.secret and value:
            lines.append(f"# {name} is set and not shown")
        else:
            lines.append(f"# {name} is not set" if value is None else f"{name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, int | float):
        return repr(value)
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'
