"""One table of settings, three sources, one precedence."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from server import cli
from server.config import Settings
from server.sources import (
    SETTINGS,
    BadSetting,
    Setting,
    as_toml,
    build,
    from_environment,
    from_file,
    from_flags,
)
from streaming.session import Limits


def other_value(setting: Setting) -> Any:
    """A value that is not the default."""
    if setting.choices:
        value: Any = setting.choices[-1]
        return value if value != setting.default else setting.choices[0]
    if setting.kind is bool:
        return not setting.default
    if setting.kind in (int, float):
        return setting.kind((setting.default or 1) + 1)
    return setting.kind("/other")


def written(setting: Setting, value: Any) -> str:
    """A value in TOML."""
    if setting.kind is bool:
        return str(value).lower()
    return (
        str(value)
        if setting.kind in (int, float)
        else f'["{value}"]' * setting.many or f'"{value}"'
    )


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.key)
def test_every_setting_is_reachable_from_all_three(setting: Setting, tmp_path: Path) -> None:
    value = other_value(setting)
    path = tmp_path / "config.toml"
    section, _, name = setting.key.rpartition(".")
    head = f"[{section}]\n" if section else ""
    path.write_text(f"{head}{name} = {written(setting, value)}\n")
    text = str(value).lower() if setting.kind is bool else str(value)
    flag: Any = value if setting.kind is bool else [text] if setting.many else text
    expected = (value,) if setting.many else value
    sources = (
        from_file(path),
        from_environment({setting.variable: text}),
        from_flags({setting.key: flag}),
    )
    for source in sources:
        assert source == {setting.key: expected}
        settings: Any = build((source,))
        for part in setting.key.split("."):
            settings = getattr(settings, part)
        assert settings == expected


def test_flags_win_over_variables_and_variables_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('model = "file"\nhost = "file"\nport = 1\n[limits]\nidle_s = 5\n')
    environ = {"INDEXTTS_HOST": "variable", "INDEXTTS_PORT": "2", "OTHER": "x"}
    settings = build((from_file(path), from_environment(environ), from_flags({"port": "3"})))
    assert (settings.model, settings.host, settings.port) == ("file", "variable", 3)
    assert settings.limits == replace(Limits(), idle_s=5.0)


def test_paths_in_a_file_start_at_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('voices = "speaker.json"\nkeys = "/etc/keys.json"\n')
    settings = build((from_file(path),))
    assert settings.voices == (tmp_path / "speaker.json",)
    assert settings.keys == Path("/etc/keys.json")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("modle = 'nano'", "there is no setting modle in .*; did you mean model"),
        ("[limit]\nidle_s = 3", "limit.idle_s in .*; did you mean limits.idle_s"),
        ("zzz = 1", "there is no setting zzz in .*toml$"),
        ("port = 'x'", "port in .* must be a whole number from 0 to 65535"),
        ("port = true", "must be a whole number"),
        ("port = 65536", "65536"),
        ("grace_s = 'x'", "must be a number from 0, not 'x'"),
        ("grace_s = nan", "must be a number"),
        ("metrics = 1", "must be true or false"),
        ("device = 'gpu'", "must be one of auto, cuda, npu, mps, cpu, not 'gpu'"),
        ("token_secret = 5", "must be a text, not that"),
        ("model = [", "cannot read"),
        ("[limits]\nactive_requests = 0", "from 1"),
    ],
)
def test_mistakes_in_a_file_are_explained(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(BadSetting, match=words):
        from_file(path)


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"INDEXTTS_MODLE": "x"}, "INDEXTTS_MODLE; did you mean INDEXTTS_MODEL"),
        ({"INDEXTTS_PORT": "tcp://10.0.0.1:80"}, "INDEXTTS_PORT must be a whole number"),
        ({"INDEXTTS_METRICS": "perhaps"}, "must be true or false"),
        ({"INDEXTTS_GRACE_S": "nan"}, "must be a number"),
        ({"INDEXTTS_GRACE_S": "-1"}, "from 0"),
    ],
)
def test_mistakes_in_the_environment_are_explained(environ: dict[str, str], words: str) -> None:
    with pytest.raises(BadSetting, match=words):
        from_environment(environ)


def test_names_of_others_are_left_alone() -> None:
    assert from_environment({"INDEXTTS_URL": "x", "INDEXTTS_CONFIG": "y", "PATH": "z"}) == {}


def test_every_setting_is_explained() -> None:
    assert [s.key for s in SETTINGS.values() if not s.help and "." not in s.key] == []


@given(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(["", "quiet"]))
def test_what_is_printed_reads_back(text: str, secret: str) -> None:
    settings = Settings(model=text, origins=(text, "b"), token_secret=secret)
    printed = as_toml(settings)
    assert "quiet" not in printed
    assert tomllib.loads(printed)["model"] == text
    assert tomllib.loads(printed)["origins"] == [text, "b"]


def run(*arguments: str, **environ: str) -> Any:
    return CliRunner(env=environ).invoke(cli.app, list(arguments))


def test_print_config_shows_what_would_be_used(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('model = "file"\ntoken_secret = "hush"\n')
    result = run("--print-config", "--port", "7000", INDEXTTS_CONFIG=str(path), INDEXTTS_HOST="::1")
    assert result.exit_code == 0, result.output
    assert "hush" not in result.stdout
    copy = tmp_path / "copy.toml"
    copy.write_text(result.stdout)
    settings = build((from_file(copy),))
    assert settings == Settings(model="file", host="::1", port=7000)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "many"], "--port must be a whole number"),
        (["--config", "/nowhere.toml"], "cannot read /nowhere.toml"),
        (["--host", "0.0.0.0"], "indextts-server keys add NAME --keys keys.json"),
        (["--host", "::"], "--insecure-no-auth"),
        (["--keys", "/nowhere.json"], "cannot read /nowhere.json"),
    ],
)
def test_mistakes_end_the_start_with_one_line(arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
