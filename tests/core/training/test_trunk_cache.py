"""Hidden states on disk: what was put comes back to the bit, within the room there is, whatever happens meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from core.data.tokenize import Tokens
from core.training import trunk_cache
from core.training.trunk_cache import TrunkCache, room, tokens_kept
from tests.core.training.objectives import random_pairs

PAIRS = random_pairs(12)
WIDTH = 6


def states(pair: Tokens, kind: str = "float32", seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    lengths = (len(pair.prompt) - 1, *map(len, pair.responses))
    return tuple((1000 * rng.normal(size=(n, WIDTH))).astype(kind) for n in lengths)


def same(found: tuple[np.ndarray, ...] | None, expected: tuple[np.ndarray, ...]) -> bool:
    return found is not None and all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("kind", ["float32", "float16", "uint16"])
def test_comes_back_to_the_bit_at_once_and_after_a_restart(tmp_path: Path, kind: str) -> None:
    cache = TrunkCache(tmp_path, "key", WIDTH, kind)
    assert cache.get(PAIRS[0]) is None
    for number, pair in enumerate(PAIRS):
        cache.put(pair, states(pair, kind, number))
        assert same(cache.get(pair), states(pair, kind, number))
    assert cache.size == tokens_kept(PAIRS) * WIDTH * np.dtype(kind).itemsize
    cache.close()
    again = TrunkCache(tmp_path, "key", WIDTH, kind)
    for number, pair in enumerate(PAIRS):
        assert same(again.get(pair), states(pair, kind, number))
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.rglob("*"))


def test_another_model_is_another_file(tmp_path: Path) -> None:
    cache = TrunkCache(tmp_path, "one", WIDTH, "float32")
    cache.put(PAIRS[0], states(PAIRS[0]))
    cache.close()
    assert TrunkCache(tmp_path, "other", WIDTH, "float32").get(PAIRS[0]) is None


def test_the_first_value_stays(tmp_path: Path) -> None:
    cache = TrunkCache(tmp_path, "key", WIDTH, "float32")
    cache.put(PAIRS[0], states(PAIRS[0], seed=1))
    cache.put(PAIRS[0], states(PAIRS[0], seed=2))
    assert same(cache.get(PAIRS[0]), states(PAIRS[0], seed=1))


def test_what_was_not_entered_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed leaves data without an entry in the index."""
    killed = TrunkCache(tmp_path, "key", WIDTH, "float32")
    killed.put(PAIRS[0], states(PAIRS[0], seed=0))
    killed.flush()
    killed.put(PAIRS[1], states(PAIRS[1], seed=1))
    killed._file.flush()
    cache = TrunkCache(tmp_path, "key", WIDTH, "float32")
    assert same(cache.get(PAIRS[0]), states(PAIRS[0], seed=0)) and cache.get(PAIRS[1]) is None
    cache.put(PAIRS[2], states(PAIRS[2], seed=2))
    cache.close()
    cache = TrunkCache(tmp_path, "key", WIDTH, "float32")
    assert same(cache.get(PAIRS[0]), states(PAIRS[0], seed=0)) and same(cache.get(PAIRS[2]), states(PAIRS[2], seed=2))


def test_entries_beyond_the_data_are_passed_over(tmp_path: Path) -> None:
    cache = TrunkCache(tmp_path, "key", WIDTH, "float32")
    for number, pair in enumerate(PAIRS):
        cache.put(pair, states(pair, seed=number))
    cache.close()
    (data,) = tmp_path.rglob("hidden.bin")
    os.truncate(data, data.stat().st_size - 1)
    cache = TrunkCache(tmp_path, "key", WIDTH, "float32")
    assert cache.get(PAIRS[-1]) is None
    assert same(cache.get(PAIRS[-2]), states(PAIRS[-2], seed=len(PAIRS) - 2))
    cache.put(PAIRS[-1], states(PAIRS[-1], seed=5))
    assert same(cache.get(PAIRS[-1]), states(PAIRS[-1], seed=5))


def test_entered_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trunk_cache, "INTERVAL", 0.0)
    TrunkCache(tmp_path, "key", WIDTH, "float32").put(PAIRS[0], states(PAIRS[0]))
    assert TrunkCache(tmp_path, "key", WIDTH, "float32").get(PAIRS[0]) is not None


def test_a_pair_given_twice_is_kept_once(tmp_path: Path) -> None:
    cache = TrunkCache(tmp_path, "key", WIDTH, "float32")
    twin = Tokens(list(PAIRS[0].prompt), tuple(map(list, PAIRS[0].responses)))
    cache.put(PAIRS[0], states(PAIRS[0]))
    assert same(cache.get(twin), states(PAIRS[0]))


def test_room(tmp_path: Path) -> None:
    assert room(tmp_path / "trunk", "key", 100, 100).fits
    assert not room(tmp_path / "trunk", "key", 101, 100).fits
    assert not room(tmp_path / "trunk", "key", 10**18, 2 * 10**18).fits  # not on this disk
    assert not (tmp_path / "trunk").exists()


def test_the_longest_unused_trunk_goes_first(tmp_path: Path) -> None:
    def make(key: str, day: int) -> Path:
        before = set(tmp_path.iterdir())
        cache = TrunkCache(tmp_path, key, 250, "float32")
        cache.put(PAIRS[0], tuple(np.zeros((1, 250), "float32") for _ in range(3)))  # 3,000 bytes
        cache.close()
        (folder,) = set(tmp_path.iterdir()) - before
        os.utime(folder, (day, day))
        return folder

    old, older, new = make("a", 20), make("b", 10), make("c", 30)
    assert room(tmp_path, "d", 5_000, 20_000).fits
    assert old.exists() and older.exists() and new.exists()
    assert not room(tmp_path, "d", 30_000, 20_000).fits  # too much by itself: nothing goes for it
    assert older.exists()
    assert room(tmp_path, "d", 5_000, 12_000).fits
    assert old.exists() and not older.exists() and new.exists()
    # Its own does not go, nor count twice.
    assert room(tmp_path, "c", 4_000, 8_000).fits
    assert old.exists() and new.exists()
