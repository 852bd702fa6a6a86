"""Reference log-probs that outlive a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.data.tokenize import Tokens
from core.training import reference_cache
from core.training.reference_cache import ReferenceCache, fingerprint
from tests.core.training.objectives import random_pairs

PAIRS = random_pairs(20)


def numbers(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 2)).astype(np.float32)


def test_known_after_a_restart(tmp_path: Path) -> None:
    cache = ReferenceCache(tmp_path, "model")
    assert np.isnan(cache.known(PAIRS)).all()
    logps = numbers(20)
    cache.add(PAIRS[:5], logps[:5])
    cache.add(PAIRS[7:9], logps[7:9])
    cache.flush()
    cache.add(PAIRS[9:10], logps[9:10])
    cache.flush()
    found = ReferenceCache(tmp_path, "model").known(PAIRS[::-1])[::-1]
    known = [*range(5), 7, 8, 9]
    np.testing.assert_array_equal(found[known], logps[known])
    assert np.isnan(np.delete(found, known, axis=0)).all()
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o077 == 0
    # More pairs keep what is there.
    assert np.isnan(ReferenceCache(tmp_path, "model").known(random_pairs(40))[:5]).sum() == 0


def test_what_decides_the_values_misses(tmp_path: Path) -> None:
    cache = ReferenceCache(tmp_path, "model")
    cache.add(PAIRS, numbers(20))
    cache.flush()
    assert np.isnan(ReferenceCache(tmp_path, "other model").known(PAIRS)).all()
    assert np.isnan(ReferenceCache(tmp_path, "model", weighting=0.5).known(PAIRS)).all()
    assert not np.isnan(ReferenceCache(tmp_path, "model").known(PAIRS)).any()


def test_every_token_counts_and_where_it_stands() -> None:
    variants = [
        Tokens([1, 2], ([3], [4])),
        Tokens([1], ([2, 3], [4])),
        Tokens([1, 2], ([3, 4], [])),
        Tokens([1, 2], ([4], [3])),
        Tokens([2, 1], ([3], [4])),
        Tokens([1, 2, 3], ([], [4])),
    ]
    assert len({fingerprint(pair) for pair in variants}) == len(variants)
    assert fingerprint(variants[0], 0.5) != fingerprint(variants[0])


@pytest.mark.parametrize("cut", [1, 7, 23])
def test_half_a_record_is_cut_off(tmp_path: Path, cut: int) -> None:
    logps = numbers(20)
    cache = ReferenceCache(tmp_path, "model")
    cache.add(PAIRS[:3], logps[:3])
    cache.flush()
    (file,) = tmp_path.iterdir()
    with file.open("r+b") as handle:
        handle.truncate(file.stat().st_size - cut)
    torn = ReferenceCache(tmp_path, "model")
    assert np.isnan(torn.known(PAIRS[:3])).any(axis=1).tolist() == [False, False, True]
    torn.add(PAIRS[2:4], logps[2:4])
    torn.flush()
    np.testing.assert_array_equal(ReferenceCache(tmp_path, "model").known(PAIRS[:4]), logps[:4])


def test_the_first_value_of_a_pair_stays(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        cache = ReferenceCache(tmp_path, "model")
        cache.add(PAIRS[:1], np.full((1, 2), value, np.float32))
        cache.flush()
    assert ReferenceCache(tmp_path, "model").known(PAIRS[:1]).tolist() == [[1.0, 1.0]]


def test_written_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_cache, "INTERVAL", 0.0)
    ReferenceCache(tmp_path, "model").add(PAIRS, numbers(20))  # its process is killed here
    assert not np.isnan(ReferenceCache(tmp_path, "model").known(PAIRS)).any()


def test_without_a_folder_nothing_is_kept(tmp_path: Path) -> None:
    cache = ReferenceCache(None, "model")
    cache.add(PAIRS, numbers(20))
    cache.flush()
    assert np.isnan(cache.known(PAIRS)).all()
