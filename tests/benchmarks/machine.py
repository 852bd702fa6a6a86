"""What a measurement was made on, and of which code."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
from pathlib import Path

import psutil

from tests.benchmarks.environments import ROOT


def describe(device: str) -> dict[str, str | int]:
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "device": device,
        "accelerator": _accelerator() if device == "gpu" else "",
    }


def slug(machine: dict[str, str | int]) -> str:
    """A folder name for a machine."""
    words = f"{machine['processor']} {machine['cores']} cores {machine['accelerator'] or machine['device']}"
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def code(source: Path) -> str:
    """One word for the code that trains."""
    sha = hashlib.sha256()
    for file in sorted((source / "core").rglob("*.py")):
        sha.update(file.relative_to(source).as_posix().encode() + b"\0" + file.read_bytes())
    return sha.hexdigest()


def commit() -> str:
    """The commit of the checkout, with a plus where `core` differs from it."""
    try:
        head = _git("rev-parse", "--short=10", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--", "core") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def export(revision: str, folder: Path) -> tuple[Path, str]:
    """The files of a commit in a folder of their own under `folder`, and the commit's short name."""
    name = _git("rev-parse", "--short=10", f"{revision}^{{commit}}")
    target = folder / name
    if not target.exists():
        part = folder / f"{name}.part"
        part.mkdir(parents=True, exist_ok=True)
        archive = subprocess.run(["git", "-C", str(ROOT), "archive", name], check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", str(part)], input=archive, check=True)
        part.rename(target)
    return target, name


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _processor() -> str:
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else platform.machine()


def _accelerator() -> str:
    if platform.system() == "Darwin":
        return "Metal"
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""
    return found.splitlines()[0] if found else ""
