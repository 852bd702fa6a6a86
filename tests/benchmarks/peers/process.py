"""What every driver does alike: read the specification, watch clock and memory, try the BLAS, print the result."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import resource
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# Side of the square matrices whose product tells how fast a process multiplies.
SIDE = 1536

_PACKAGES = (
    "dpotui", "mlx", "mlx-cpu", "mlx-metal", "mlx-cuda-13", "mlx-lm", "mlx-lm-lora", "numpy", "torch", "transformers",
    "trl", "peft", "accelerate",
)  # fmt: skip
_ADAPTED = re.compile(r"layers\.(\d+)\.(.+?)\.lora_[aA]")
_LIBRARY = re.compile(r"(lib(?:open|tf)?blas[^/\s]*|libmkl[^/\s]*|[Aa]ccelerate[^/\s]*)$")


class Journal:
    """When what happened, in seconds since the epoch, and how much memory it took."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.fill_seconds = 0.0
        self.steps: list[dict[str, float]] = []
        self.away: list[tuple[float, float]] = []
        # What the interpreter and its libraries take before there is a model.
        self._baseline = resident_bytes()
        reset_peak_resident()

    def begin(self) -> None:
        """Model and token ids are in memory: what is done from here on is training."""
        self.began = time.time()

    def step(self, loss: float) -> None:
        """An update is done; `loss` is the mean that the program reports of it."""
        self.steps.append({"at": time.time(), "loss": float(loss)})

    def memory(self) -> dict[str, int]:
        return {"resident_baseline": self._baseline, "resident_peak": peak_resident_bytes()}


def main(run: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Read the specification named on the command line, run, print the result as the only line of standard output."""
    spec = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    # Programs print as they like: to the log.
    with contextlib.redirect_stdout(sys.stderr):
        result = run(spec)
    result["started"] = float(os.environ["BENCH_STARTED"])
    result["versions"] = versions()
    print(json.dumps(result), flush=True)


def read_ids(spec: dict[str, Any]) -> list[dict[str, list[int]]]:
    """The pairs as token ids: `prompt`, `chosen`, `rejected`."""
    with Path(spec["ids"]).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def digest(pairs: Iterable[tuple[Sequence[int], Sequence[int], Sequence[int]]]) -> str:
    """One word for the token ids of (prompt, chosen, rejected) in order: equal for programs that train on the same."""
    sha = hashlib.sha256()
    for pair in pairs:
        sha.update(json.dumps([list(ids) for ids in pair]).encode())
    return sha.hexdigest()


def adapted(names: Iterable[str]) -> list[str]:
    """Which layers carry an adapter, from the names of parameters, as `block.layer`."""
    found = {(int(match[1]), match[2]) for name in names if (match := _ADAPTED.search(name))}
    return [f"{block}.{layer}" for block, layer in sorted(found)]


def gflops(multiply: Callable[[], None]) -> float:
    """Speed of one product of two float32 matrices of SIDE x SIDE: the best of several."""
    multiply()
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        multiply()
        best = min(best, time.perf_counter() - started)
    return 2 * SIDE**3 / best / 1e9


def mlx_gflops() -> float:
    import mlx.core as mx

    a, b = (mx.random.normal((SIDE, SIDE)) for _ in range(2))
    mx.eval(a, b)
    return gflops(lambda: mx.eval(a @ b))


def blas_libraries() -> list[str]:
    """The BLAS libraries that this process has loaded, by file name; Linux only."""
    try:
        lines = Path("/proc/self/maps").read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    names = (line.rsplit("/", 1)[-1] for line in lines if "/" in line)
    return sorted({match[1] for name in names if (match := _LIBRARY.search(name))})


def versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def resident_bytes() -> int:
    """Memory of this process now; where the system does not tell, its largest so far."""
    return _status("VmRSS") or peak_resident_bytes()


def peak_resident_bytes() -> int:
    if high := _status("VmHWM"):
        return high
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def reset_peak_resident() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> int | None:
    try:
        text = Path("/proc/self/status").read_text("utf-8")
    except OSError:
        return None
    match = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(match[1]) * 1024 if match else None
