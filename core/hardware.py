"""What this machine is and has: chip, cores, memory, MLX and what it computes on. Read without loading MLX."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from core import blas
from core.config import this_platform

PACKAGES = ("dpotui", "mlx", "mlx-lm", "textual", "pydantic", "sqlite-utils", "tokenizers", "transformers")

# What a look at MLX may take on a machine that swaps.
_MEASURE_SECONDS = 120


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


def versions() -> dict[str, str | None]:
    """The installed versions of the packages that matter here; None for one that is missing."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


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
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "core.hardware"],
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
    print(json.dumps(_measure_here()))  # noqa: T201  the answer to `measure`
