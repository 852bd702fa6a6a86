"""Rewards on disk: they come back for the same words under the same model, and for nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.data.manifest import file_sha256
from core.data.pairs import Pair
from core.data.reward_cache import RewardCache, Rewarded, cache_path, model_hash, pair_key
from core.errors import UserError


def test_what_was_added_comes_back_after_a_restart(tmp_path: Path) -> None:
    path = cache_path(tmp_path / "cache", "ab" * 32)
    keys = [pair_key(Pair(i, f"p{i}", "a", "b")) for i in range(1200)]
    with RewardCache(path) as cache:
        cache.add((key, Rewarded(float(i), 0.5)) for i, key in enumerate(keys[:1100]))
        cache.add([(keys[0], Rewarded(None, None, "odd"))])
    assert path.stat().st_mode & 0o077 == 0
    with RewardCache(path) as cache:
        found = cache.known(keys)
        assert len(cache) == 1100
    assert found[0] == Rewarded(None, None, "odd")
    assert found[1] == Rewarded(1.0, 0.5)
    assert found[1099] == Rewarded(1099.0, 0.5)
    assert found[1100:] == [None] * 100


def test_a_key_is_what_a_pair_says_and_not_where_it_stands() -> None:
    pair = Pair(1, "p", "a", "b", 3.0, 1.0)
    assert pair_key(pair) == pair_key(Pair(9, "p", "a", "b"))
    others = [
        Pair(1, "p", "b", "a"),
        Pair(1, "pa", "", "b"),
        Pair(1, "p ", "a", "b"),
        Pair(1, [{"role": "user", "content": "p"}], [{"role": "assistant", "content": "a"}], []),
    ]
    assert len({pair_key(other) for other in (pair, *others)}) == 5
    pair_key(Pair(1, "\ud800", "a", "b"))


def model(folder: Path, base: Path | None = None) -> Path:
    folder.mkdir()
    (folder / "adapters.safetensors").write_bytes(b"weights")
    (folder / "reward_config.json").write_text(json.dumps({"base_model": str(base) if base else None}))
    return folder


def test_a_model_is_its_files_and_those_it_stands_on(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "model.safetensors").write_bytes(b"base")
    folder = model(tmp_path / "reward", base)
    first = model_hash(folder, file_sha256)
    (folder / "training_metrics.json").write_text("{}")
    (folder / "notes.txt").write_text("mine")
    assert model_hash(folder, file_sha256) == first
    (base / "model.safetensors").write_bytes(b"Base")
    second = model_hash(folder, file_sha256)
    (folder / "reward_config.json").write_text(json.dumps({"base_model": str(base), "max_prompt_length": 5}))
    assert len({first, second, model_hash(folder, file_sha256)}) == 3


def test_what_is_no_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no folder"):
        model_hash(tmp_path / "nothing", file_sha256)
    with pytest.raises(UserError, match="holds no weights"):
        model_hash(tmp_path, file_sha256)
    with pytest.raises(UserError, match=r"stands on .*gone, which is not there"):
        model_hash(model(tmp_path / "a", tmp_path / "gone"), file_sha256)
    broken = model(tmp_path / "b")
    (broken / "reward_config.json").write_text("{")
    assert model_hash(broken, file_sha256)


def test_a_file_that_is_no_cache_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_text("not a database, but long enough to be taken for the header of one" * 20)
    with pytest.raises(UserError, match="cannot be used"):
        RewardCache(path)
