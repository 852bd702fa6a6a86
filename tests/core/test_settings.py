from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import UserError
from core.settings import Settings, load_settings, settings_path


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "settings.yaml"
    monkeypatch.setenv("DPOTUI_SETTINGS", str(path))
    return path


def test_without_a_file_all_is_as_usual(file: Path) -> None:
    assert load_settings() == Settings()
    file.write_text("# nothing yet\n")
    assert load_settings() == Settings()


def test_a_file_is_read(file: Path) -> None:
    file.write_text('theme: dpotui-light\nascii: true\nbell: false\nosc9: off\non_run_end: ["say", "{run} {state}"]\n')
    file.chmod(0o600)
    assert load_settings() == Settings("dpotui-light", True, False, "off", ("say", "{run} {state}"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bells: true", "bells: unknown key; allowed: theme, ascii, bell, osc9, on_run_end"),
        ("bell: maybe", "bell: true or false is wanted"),
        ("osc9: loud", "osc9: one of auto, on, off is wanted"),
        ("theme: 3", "theme: a text is wanted"),
        ("on_run_end: say done", "on_run_end: a program and its arguments as a list"),
        ("on_run_end: [1]", "on_run_end: a program and its arguments as a list"),
        ("[1, 2]", "keys and values are wanted"),
        ("a: b: c", "settings.yaml:1: this is not YAML"),
    ],
)
def test_what_is_wrong_is_one_line(file: Path, text: str, words: str) -> None:
    file.write_text(text)
    with pytest.raises(UserError, match=r"settings\.yaml") as error:
        load_settings()
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_program_is_taken_from_a_file_of_ones_own_alone(file: Path) -> None:
    file.write_text("on_run_end: [touch, x]\n")
    file.chmod(0o666)
    with pytest.raises(UserError, match="others may write it"):
        load_settings()
    file.chmod(0o600)
    assert load_settings().on_run_end == ("touch", "x")


def test_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DPOTUI_SETTINGS", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert settings_path() == tmp_path / "dpotui/settings.yaml"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings_path() == tmp_path / ".config/dpotui/settings.yaml"
