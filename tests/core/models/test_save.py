"""A folder is on disk whole or not at all, for its owner only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.models.load import load
from core.models.save import recover, save, whole_folder
from tests.core.models.folders import write_folder


def write(folder: Path, text: str) -> None:
    with whole_folder(folder) as part:
        (part / "file").write_text(text)
        (part / "inner").mkdir()
        (part / "inner" / "file").write_text(text)


def test_takes_its_place_when_written(tmp_path: Path) -> None:
    write(tmp_path / "a", "one")
    write(tmp_path / "a", "two")
    assert (tmp_path / "a" / "inner" / "file").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_nothing_is_there_before_all_is(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "a") as part:
        (part / "file").write_text("x")
        assert not (tmp_path / "a").exists()


def test_a_failure_leaves_what_was(tmp_path: Path) -> None:
    write(tmp_path / "a", "one")
    with pytest.raises(OSError, match="disk"), whole_folder(tmp_path / "a") as part:
        (part / "file").write_text("half")
        raise OSError("disk full")
    assert (tmp_path / "a" / "file").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_rights(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        write(tmp_path / "a", "x")
    finally:
        os.umask(old)
    assert [oct(path.stat().st_mode & 0o777) for path in (tmp_path / "a", tmp_path / "a" / "inner")] == ["0o700"] * 2
    assert oct((tmp_path / "a" / "inner" / "file").stat().st_mode & 0o777) == "0o600"


@pytest.mark.parametrize("moment", range(4))
def test_a_crash_at_any_moment_leaves_one_of_the_two(
    tmp_path: Path, moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies at the given rename or removal; what the next one finds is whole."""
    target = tmp_path / "a"
    write(target, "one")

    class Killed(BaseException):
        pass

    steps = iter(range(10))

    def dies(call):
        def wrapped(*args, **kwargs):
            if next(steps) == moment:
                raise Killed
            return call(*args, **kwargs)

        return wrapped

    with monkeypatch.context() as patched:
        from core.models import save as module

        with pytest.raises(Killed), whole_folder(target) as part:
            (part / "file").write_text("two")
            # Clearing away, two renames, clearing away.
            patched.setattr(module.shutil, "rmtree", dies(module.shutil.rmtree))
            patched.setattr(Path, "rename", dies(Path.rename))
    recover(target)
    assert (target / "file").read_text() == ("one" if moment < 3 else "two")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_model_folder_is_complete(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source")
    (source / "generation_config.json").write_text('{"eos_token_id": 0}')
    target = tmp_path / "target"
    target.mkdir()
    save(load(source), target)
    names = {path.name for path in target.iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert (target / "generation_config.json").read_text() == '{"eos_token_id": 0}'
    assert load(target).tokenizer.eos_token_ids == load(source).tokenizer.eos_token_ids
