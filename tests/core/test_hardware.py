"""The memory a run may take here: the GPU's own word where there is one, else what is free in the container."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from core import hardware

GB = 10**9


def test_metal_says_it_itself() -> None:
    limit = hardware._gpu_limit({"max_recommended_working_set_size": 51_539_607_552, "memory_size": 68_719_476_736})
    assert (limit.bytes, limit.physical) == (51_539_607_552, 68_719_476_736)
    assert "Metal recommends" in limit.source


def test_cuda_has_what_is_free() -> None:
    limit = hardware._gpu_limit({"total_memory": 80 * GB, "free_memory": 50 * GB})
    assert (limit.bytes, limit.physical) == (45 * GB, 80 * GB)
    assert "free on the GPU" in limit.source


@pytest.mark.parametrize(("memory", "share"), [(16 << 30, 2 / 3), (128 << 30, 3 / 4)])
def test_a_gpu_that_does_not_answer_is_guessed_and_called_that(
    monkeypatch: pytest.MonkeyPatch, memory: int, share: float
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=memory, available=memory))
    limit = hardware._gpu_limit({"error": "no answer in 120 s"})
    assert limit.bytes == int(share * memory)
    assert "a guess" in limit.source


def test_a_cpu_leaves_a_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_within_container", lambda total, available: (total, available))
    for total, available, left in (
        (100 * GB, 80 * GB, 75 * GB),
        (8 * GB, 6 * GB, 6 * GB - 2**30),
        (8 * GB, GB // 2, 0),
    ):
        seen = SimpleNamespace(total=total, available=available)
        monkeypatch.setattr(psutil, "virtual_memory", lambda seen=seen: seen)
        limit = hardware.memory_limit("cpu")
        assert (limit.bytes, limit.physical) == (left, total)
        assert "free now, less" in limit.source


def test_this_machine_answers() -> None:
    limit = hardware.memory_limit("cpu")
    assert 0 < limit.bytes < limit.physical <= psutil.virtual_memory().total
    assert "error" not in hardware._ask("limits")


def _container(folder: Path, most: str, taken: int, file: int) -> Path:
    (folder / "memory.max").write_text(most)
    (folder / "memory.current").write_text(str(taken))
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {file}\nactive_file 0\n")
    return folder


def test_a_container_bounds_it(tmp_path: Path) -> None:
    root = _container(tmp_path, str(8 * GB), 5 * GB, 2 * GB)
    assert hardware._within_container(64 * GB, 60 * GB, root) == (8 * GB, 5 * GB)
    assert hardware._within_container(64 * GB, 3 * GB, root) == (8 * GB, 3 * GB)


def test_without_a_bound_it_is_the_machines(tmp_path: Path) -> None:
    assert hardware._within_container(64 * GB, 60 * GB, tmp_path) == (64 * GB, 60 * GB)
    root = _container(tmp_path, "max", 5 * GB, 0)
    assert hardware._within_container(64 * GB, 60 * GB, root) == (64 * GB, 60 * GB)


def test_the_starting_points_are_the_workflows() -> None:
    assert hardware.STARTING_POINTS == {"Apple M4 Max": 32, "Apple M3 Ultra": 4}
