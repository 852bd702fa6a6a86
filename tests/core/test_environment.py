"""Variables and limits: who wins, what acts where, and what is said of what does not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import mlx.core as mx
import pytest

from core import environment
from core.config import Platform
from core.config.environment import Environment
from core.environment import CACHE, MEMORY, WIRED, limit_planned, settings, summary
from core.errors import UserError
from core.hardware import versions
from core.models import limits as module
from core.models.limits import limits
from core.store.environments import Setting

FAST, NEVER, WATCHDOG, TOKENIZERS = environment.NAMES
NOTHING: dict[str, str | None] = dict.fromkeys(environment.NAMES)


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if MLX computed on Metal, with the names in its library that the Mac wheels of 0.32.4 have."""
    monkeypatch.setattr(environment, "this_platform", lambda: Platform("macos", "metal"))
    monkeypatch.setattr(environment, "read_by_mlx", lambda name: name in (FAST, "MLX_MAX_OPS_PER_BUFFER"))
    yield


def _by_name(found: list[Setting]) -> dict[str, Setting]:
    return {one.name: one for one in found}


def test_a_key_goes_before_the_shell_and_the_shell_before_the_default(mac: None) -> None:
    shell = NOTHING | {FAST: "1", TOKENIZERS: "false"}
    found = _by_name(settings(Environment(metal_fast_synch=False), shell))
    assert (found[FAST].value, found[FAST].by, found[FAST].effect) == ("0", "configuration", "effective")
    assert (found[TOKENIZERS].value, found[TOKENIZERS].by) == ("false", "shell")
    assert (found[WATCHDOG].value, found[WATCHDOG].by, found[WATCHDOG].effect) == (None, "default", None)


def test_what_no_mlx_reads_is_never_called_effective(mac: None) -> None:
    found = _by_name(settings(Environment(metal_preallocate=True), NOTHING))[NEVER]
    assert (found.value, found.effect) == ("1", "without effect")
    assert f"no effect in MLX {versions()['mlx']}" in found.why
    assert "wired_limit_gb" in found.why


def test_what_apples_driver_reads_is_not_claimed(mac: None) -> None:
    found = _by_name(settings(Environment(relax_gpu_watchdog=True), NOTHING))[WATCHDOG]
    assert (found.value, found.effect) == ("1", "not told")
    # Off means gone: nobody knows what the driver makes of 0.
    assert environment.variables(Environment(relax_gpu_watchdog=False)) == {WATCHDOG: None}


def test_a_process_that_began_otherwise_has_it_from_its_next_start(mac: None) -> None:
    found = _by_name(settings(Environment(metal_fast_synch=True), NOTHING, began=NOTHING))[FAST]
    assert found.effect == "not yet"
    assert "MLX began in the engine with none" in found.why
    # 0 and none are the same to MLX.
    same = _by_name(settings(Environment(metal_fast_synch=False), NOTHING, began=NOTHING))[FAST]
    assert same.effect == "effective"
    # What a run before it had set, and this one does not want.
    left = _by_name(settings(Environment(), NOTHING, began=NOTHING | {FAST: "1"}))[FAST]
    assert left.effect == "not yet"


def test_without_metal_its_variables_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "this_platform", lambda: Platform("linux", None))
    wanted = Environment(metal_fast_synch=True, relax_gpu_watchdog=True, tokenizers_parallelism=False)
    found = _by_name(settings(wanted, NOTHING, began=NOTHING))
    assert {found[FAST].effect, found[WATCHDOG].effect} == {"without effect"}
    assert found[TOKENIZERS].effect == "effective"


def test_variables_for_looking_into_defects_are_told_where_they_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _by_name(settings(Environment(), NOTHING | {"MLX_DISABLE_COMPILE": "1"}))
    assert found["MLX_DISABLE_COMPILE"].effect == "effective"
    assert "MLX_MAX_OPS_PER_BUFFER" not in found


def test_the_library_is_asked_which_names_it_has() -> None:
    # Both libraries of this version have the first, none has the second.
    assert environment.read_by_mlx("MLX_DISABLE_COMPILE")
    assert not environment.read_by_mlx(NEVER)
    assert environment.read_by_mlx(FAST) == (sys.platform == "darwin")


def test_a_checklist_reads_yes_no_or_nothing(mac: None) -> None:
    wired = Setting(WIRED, "", "51.5 GB", "default", "effective", "read back from MLX")
    wanted = Environment(metal_fast_synch=True, metal_preallocate=True)
    value, text, _ = summary([*settings(wanted, NOTHING), wired])
    assert value == 1.0
    assert text == f"FAST_SYNCH set, PREALLOCATE without effect in MLX {versions()['mlx']}, wired limit 51.5 GB"
    value, text, source = summary([*settings(wanted, NOTHING, began=NOTHING), wired])
    assert (value, "FAST_SYNCH from the engine's next start" in text) == (0.0, True)
    assert "MLX began in the engine with none" in source
    value, text, source = summary([*settings(Environment(), NOTHING), wired])
    assert (value, text) == (None, "wired limit 51.5 GB")
    assert "sets nothing" in source


def test_a_snapshot_of_an_older_program_sets_nothing() -> None:
    for config in ({}, {"compute": {"device": "cpu"}}, {"compute": None}, {"compute": {"environment": {"gone": 1}}}):
        assert environment.environment_in(config) == Environment()
    assert environment.environment_in({"compute": {"environment": {"cache_limit_gb": 2}}}).cache_limit_gb == 2


_PROCESS = """
import os, sys
from core import environment
from core.config import Platform
from core.config.environment import Environment
environment.this_platform = lambda: Platform("macos", "metal")
environment.read_by_mlx = lambda name: name == "MLX_METAL_FAST_SYNCH"
first, second = Environment(metal_fast_synch=True, tokenizers_parallelism=False), Environment()
assert not environment.began_otherwise(first)
effects = [one.effect for one in environment.set_variables(first)]
assert os.environ["MLX_METAL_FAST_SYNCH"] == "1" and os.environ["TOKENIZERS_PARALLELISM"] == "false"
assert "mlx.core" not in sys.modules
import mlx.core
assert not environment.began_otherwise(first) and environment.began_otherwise(second)
assert [one.effect for one in environment.set_variables(second)][0] == "not yet"
# What MLX reads once stays what it is; what is read at every call is as the shell had it.
assert os.environ["MLX_METAL_FAST_SYNCH"] == "1" and os.environ["TOKENIZERS_PARALLELISM"] == "true"
assert "MLX_METAL_FAST_SYNCH" not in environment.as_started()
print(effects)
"""


def test_they_are_set_before_mlx_is_loaded_and_handed_on_as_they_were() -> None:
    shell = {name: value for name, value in os.environ.items() if name not in environment.NAMES}
    done = subprocess.run(
        [sys.executable, "-c", _PROCESS], env=shell | {TOKENIZERS: "true"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['effective', None, None, 'effective']"


def test_limits_are_read_back_and_put_back() -> None:
    before = mx.get_memory_limit()
    with limits(Environment(cache_limit_gb=0, memory_limit_gb=3), "cpu") as found:
        told = _by_name(found)
        assert (told[CACHE].value, told[CACHE].effect) == ("0 GB", "effective")
        assert (told[MEMORY].effect, mx.get_memory_limit()) == ("effective", 3 * 10**9)
        assert told[WIRED].value is None
        mx.clear_cache()
        kept = mx.zeros((1 << 18,))
        mx.eval(kept)
        del kept
        assert mx.get_cache_memory() == 0
    assert mx.get_memory_limit() == before
    kept = mx.zeros((1 << 18,))
    mx.eval(kept)
    del kept
    assert mx.get_cache_memory() > 0
    mx.clear_cache()


@pytest.mark.skipif(sys.platform == "darwin", reason="Metal takes it")
def test_a_limit_that_mlx_does_not_take_is_called_so() -> None:
    assert limit_planned(WIRED, Environment(wired_limit_gb=1), "cpu").effect == "without effect"
    with limits(Environment(wired_limit_gb=1), "cpu") as found:
        wired = _by_name(found)[WIRED]
    assert (wired.value, wired.by, wired.effect) == ("1 GB", "configuration", "without effect")
    assert "no Metal here" in wired.why


def test_a_limit_that_metal_refuses_is_one_line(mac: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(limit: int) -> int:
        raise ValueError("[set_wired_limit] larger than the maximum")

    monkeypatch.setitem(module._SET, WIRED, refuse)
    before = mx.get_memory_limit()
    wanted = Environment(memory_limit_gb=3, wired_limit_gb=900)
    with pytest.raises(UserError, match=r"wired_limit_gb: 900 GB: MLX refuses it .*iogpu"), limits(wanted, "gpu"):
        pass
    assert mx.get_memory_limit() == before
