"""What this machine is and has: chip, cores, memory, MLX and what it computes on. Read without loading MLX."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import psutil

from core import blas
from core.config import this_platform

PACKAGES = ("dpotui", "mlx", "mlx-lm", "textual", "pydantic", "sqlite-utils", "tokenizers", "transformers")

# What a look at MLX may take on a machine that swaps.
_MEASURE_SECONDS = 120

# The workflow's own starting points for the batch size (pairs), by the chip that Apple names; used until something was
# measured on this machine.
STARTING_POINTS = {"Apple M4 Max": 32, "Apple M3 Ultra": 4}

# Left to the system and to other programs where all of the memory would be free to take.
_RESERVE = 0.05
_LEAST_RESERVE = 1 << 30
# A CUDA allocator needs room beside what is counted.
_OF_FREE = 0.9
# How long an answer of MLX stands (seconds): a screen asks at every key.
_FRESH = 30


@dataclass(frozen=True, slots=True)
class Hardware:
    """Sizes are in bytes. `accelerator` is what MLX computes on besides the CPU: metal, cuda or None."""

    system: str
    chip: str
    architecture: str
    cores: int
    performance_cores: int | None
    memory: int
    memory_available: int
    disk_free: int
    accelerator: str | None
    openblas: str | None
    python: str


def look(folder: Path) -> Hardware:
    """This machine, and the space on the disk that `folder` is on."""
    memory = psutil.virtual_memory()
    return Hardware(
        system=_system(),
        chip=_chip(),
        architecture=platform.machine(),
        cores=psutil.cpu_count(logical=False) or psutil.cpu_count() or 1,
        performance_cores=_whole(_sysctl("hw.perflevel0.physicalcpu")),
        memory=memory.total,
        memory_available=memory.available,
        disk_free=shutil.disk_usage(folder).free,
        accelerator=this_platform().accelerator,
        openblas=blas.OPENBLAS,
        python=platform.python_version(),
    )


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """What a run should stay within, in bytes. Beyond `physical` it cannot run; between the two it may, badly."""

    bytes: int
    physical: int
    source: str


def memory_limit(device: Literal["gpu", "cpu"]) -> MemoryLimit:
    """The memory for a run on this device, and where the number is from.

    A GPU is asked by MLX in a child process: this one stays small, and a Metal that fails takes its process down.
    """
    if device == "gpu":
        return _gpu_limit(_asked_lately(int(time.monotonic() // _FRESH)))
    memory = psutil.virtual_memory()
    total, available = _within_container(memory.total, memory.available)
    reserve = max(int(_RESERVE * total), _LEAST_RESERVE)
    source = f"memory that is free now, less {reserve / 1e9:.1f} GB for the system"
    return MemoryLimit(max(0, available - reserve), total, source)


def memory_free() -> int:
    """Bytes that a run may take now without pushing others out: of a GPU with memory of its own what MLX says."""
    if this_platform().accelerator == "cuda":
        return memory_limit("gpu").bytes
    memory = psutil.virtual_memory()
    return _within_container(memory.total, memory.available)[1]


def _gpu_limit(info: dict[str, Any]) -> MemoryLimit:
    """From what MLX says of the GPU."""
    recommended = info.get("max_recommended_working_set_size")
    if recommended:
        physical = int(info.get("memory_size", recommended))
        return MemoryLimit(int(recommended), physical, "the working set that Metal recommends")
    total = info.get("total_memory") or info.get("memory_size")
    if total:
        free = int(info.get("free_memory", total))
        return MemoryLimit(int(_OF_FREE * free), int(total), f"{_OF_FREE:.0%} of what is free on the GPU now")
    # What macOS lets a GPU take where nobody set iogpu.wired_limit_mb.
    memory = psutil.virtual_memory().total
    share = 3 / 4 if memory > 36 << 30 else 2 / 3
    return MemoryLimit(int(share * memory), memory, f"{share:.0%} of the memory, a guess: MLX did not answer")


def _within_container(total: int, available: int, root: Path = Path("/sys/fs/cgroup")) -> tuple[int, int]:
    """The same within the bounds of the container that this process runs in, if it has any."""
    try:
        most = int((root / "memory.max").read_text())
        taken = int((root / "memory.current").read_text())
        kept = {line.split()[0]: int(line.split()[1]) for line in (root / "memory.stat").read_text().splitlines()}
    except (OSError, ValueError, IndexError):  # no container, or "max"
        return total, available
    # Pages of files that were read are counted as taken and given back when they are wanted.
    free = most - taken + kept.get("inactive_file", 0) + kept.get("active_file", 0)
    return min(total, most), min(available, max(0, free))


def environment_of(pid: int) -> dict[str, str] | None:
    """The environment that a process was started with; None where the system does not tell."""
    try:
        return psutil.Process(pid).environ()
    except (psutil.Error, OSError):
        return None


def versions() -> dict[str, str | None]:
    """The installed versions of the packages that matter here; None for one that is missing."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def provenance() -> dict[str, str]:
    """Chip, system and versions, as a run's results are to be read with them. Nothing of it names the machine."""
    found = {"chip": _chip(), "system": _system(), "python": platform.python_version()}
    return found | {name: number for name, number in versions().items() if number is not None}


def translated() -> bool:
    """Whether this Python is an Intel one on an Apple chip (Rosetta), for which there is no MLX."""
    return _sysctl("sysctl.proc_translated") == "1"


def _system() -> str:
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}"
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"


def _chip() -> str:
    named = _sysctl("machdep.cpu.brand_string")
    if named:
        return named
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model", "Hardware"):
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _sysctl(name: str) -> str | None:
    """A value of macOS's kernel, or None elsewhere and where it has no such value."""
    if sys.platform != "darwin":
        return None
    try:
        done = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def measure() -> dict[str, Any]:
    """Load MLX in a child process and let it multiply matrices; `{"error": ...}` when it cannot.

    A child, because a Metal that fails takes its process down, and this one stays small.
    """
    return _ask("measure")


@lru_cache(maxsize=1)
def _asked_lately(period: int) -> dict[str, Any]:
    return _ask("limits")


def _ask(what: str) -> dict[str, Any]:
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "core.hardware", what],
            capture_output=True,
            text=True,
            timeout=_MEASURE_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no answer in {_MEASURE_SECONDS} s"}
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return {"error": lines[-1] if lines else f"ended with status {done.returncode}"}
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _limits_here() -> dict[str, Any]:
    import mlx.core as mx

    return dict(mx.device_info(mx.gpu))


def _measure_here() -> dict[str, Any]:
    started = time.perf_counter()
    import mlx.core as mx

    loaded = time.perf_counter() - started
    gpu = mx.default_device() == mx.Device(mx.gpu)
    size = 4096 if gpu else 1024
    found: dict[str, Any] = {
        "device": "gpu" if gpu else "cpu",
        "metal": mx.metal.is_available(),
        "load_seconds": round(loaded, 3),
        "matmul_size": size,
    }
    info = mx.device_info()
    for key in ("device_name", "memory_size", "max_recommended_working_set_size", "max_buffer_length"):
        if key in info:
            found[key] = info[key]
    for dtype in (mx.float32, mx.bfloat16):
        a = mx.random.normal((size, size)).astype(dtype)
        mx.eval(a @ a)
        best = min(_seconds(lambda a=a: mx.eval(a @ a)) for _ in range(3))
        found[f"gflops_{str(dtype).split('.')[-1]}"] = round(2 * size**3 / best / 1e9, 1)
    return found


def _seconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    print(json.dumps(_limits_here() if sys.argv[1] == "limits" else _measure_here()))  # noqa: T201  the answer
