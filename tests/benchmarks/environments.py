"""A virtual environment for each program, from pinned requirements, by uv or else by venv and pip."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
REQUIREMENTS = Path(__file__).parent / "requirements"

# Program to the files that its environment is made from.
FILES = {
    "ours": (ROOT / "requirements.lock",),
    "mlx-lm-lora": (REQUIREMENTS / "mlx-lm-lora.txt",),
    "trl": (REQUIREMENTS / "trl.txt",),
}
_STAMP = ".requirements"


def requirements(program: str, device: str) -> list[Path]:
    """The requirement files of a program on a device, in the order they are installed."""
    gpu = (REQUIREMENTS / "gpu.txt",) if device == "gpu" and program != "trl" and sys.platform == "linux" else ()
    return [*FILES[program], *gpu]


def fingerprint(program: str, device: str) -> str:
    """One word for what an environment is made from."""
    sha = hashlib.sha256(f"{sys.version_info[:2]} {device if program == 'trl' else ''}".encode())
    for file in requirements(program, device):
        sha.update(file.read_bytes())
    return sha.hexdigest()


def python(program: str, device: str, cache: Path) -> Path:
    """The interpreter of a program's environment under `cache`, which is made when it is missing or of other files.

    The network is used here and nowhere else.
    """
    folder = cache / "environments" / (f"{program}-gpu" if device == "gpu" else program)
    interpreter = folder / "bin" / "python"
    stamp = folder / _STAMP
    wanted = fingerprint(program, device)
    if interpreter.exists() and stamp.is_file() and stamp.read_text("utf-8") == wanted:
        return interpreter
    print(f"making the environment of {program} in {folder}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    uv = shutil.which("uv")
    if uv and subprocess.run([uv, "--version"], capture_output=True, check=False).returncode != 0:
        uv = None  # a shim of a version manager without a uv behind it
    if uv:
        _run([uv, "venv", "-q", "--python", sys.executable, str(folder)])
    else:
        _run([sys.executable, "-m", "venv", str(folder)])
    for file in requirements(program, device):
        _install(uv, interpreter, file, torch_for_cpu=program == "trl" and device == "cpu")
    stamp.write_text(wanted, "utf-8")
    return interpreter


def _install(uv: str | None, interpreter: Path, file: Path, *, torch_for_cpu: bool) -> None:
    if uv is None:
        _run([str(interpreter), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(file)])
        return
    command = [uv, "pip", "install", "-q", "--python", str(interpreter), "-r", str(file)]
    # The wheel on PyPI brings gigabytes of CUDA along; PyTorch's own index, where it is reached, has one without.
    offers = "UV_FIND_LINKS" in os.environ or "UV_INDEX" in os.environ
    if torch_for_cpu and sys.platform == "linux" and not offers:
        without = subprocess.run([*command, "--torch-backend", "cpu"], check=False, capture_output=True)
        if without.returncode == 0:
            return
    _run(command)


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True)
