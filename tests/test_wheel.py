"""The wheel: built from the checkout, installed elsewhere, it carries its templates and runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow

# How installers say that the build backend is neither in their cache nor to be had.
_OFFLINE = re.compile(r"No matching distribution|Could not find a version|[Ff]ailed to fetch|dns error|network|offline")


def _run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=clean | environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
    )


def _has_uv() -> bool:
    try:
        return _run("uv", "--version", cwd=ROOT).returncode == 0
    except OSError:
        return False


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel of this checkout in it; what it depends on comes from the tests' own."""
    folder = tmp_path_factory.mktemp("wheel")
    python = folder / "venv/bin/python"
    uv = _has_uv()
    made = _run(
        *(("uv", "venv", "-q", "-p", sys.executable) if uv else (sys.executable, "-m", "venv")), "venv", cwd=folder
    )
    assert made.returncode == 0, made.stderr
    build = ("uv", "build", "--wheel", "-o") if uv else (python, "-m", "pip", "wheel", "--no-deps", "-w")
    built = _run(*build, folder / "dist", ROOT, cwd=folder)
    if built.returncode != 0 and _OFFLINE.search(built.stderr):
        pytest.skip(f"the build backend cannot be had here: {built.stderr.strip().splitlines()[-1]}")
    assert built.returncode == 0, built.stderr
    (wheel,) = (folder / "dist").glob("dpotui-*.whl")
    install = ("uv", "pip", "install", "-q", "-p", python) if uv else (python, "-m", "pip", "install", "-q")
    installed = _run(*install, "--no-deps", "--no-index", wheel, cwd=folder)
    assert installed.returncode == 0, installed.stderr
    # A line of a .pth file adds a folder; the .pth file in it that points at the checkout is not read.
    (site,) = (folder / "venv/lib").glob("python*/site-packages")
    (site / "tests-environment.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def test_every_tracked_file_of_the_program_is_in_it(environment: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "core", "dpotui", "configs"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    (wheel,) = (environment / "dist").glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f"core/{name}" if name.startswith("configs/") else name for name in tracked if (ROOT / name).exists()}
    assert wanted - packed == set()
    assert not [name for name in packed if name.startswith(("tests/", "configs/"))]


def test_it_declares_what_it_needs_and_its_license(environment: Path) -> None:
    (wheel,) = (environment / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode()
        assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())
    assert re.search(r"^Requires-Dist: mlx\[cpu\].*linux", metadata, re.M)
    assert re.search(r"^Requires-Dist: mlx>=.*darwin", metadata, re.M)
    assert re.search(r"^Requires-Dist: textual", metadata, re.M)
    assert re.search(r"^License-Expression: Apache-2.0", metadata, re.M)


def test_it_runs_outside_the_checkout_and_finds_its_templates(environment: Path, tmp_path: Path) -> None:
    where = _run(environment / "venv/bin/python", "-c", "import core, dpotui; print(core.__file__)", cwd=tmp_path)
    assert where.stdout.startswith(str(environment)), where
    program = environment / "venv/bin/dpotui"
    assert version("dpotui") in _run(program, "--version", cwd=tmp_path).stdout
    done = _run(program, "init", "x y", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for path in (ROOT / "configs").rglob("*"):
        if path.is_file() and not path.name.startswith((".", "__")):
            assert (tmp_path / "x y/configs" / path.relative_to(ROOT / "configs")).read_bytes() == path.read_bytes()
    shown = _run(program, "checklist", "show", "-w", "x y", cwd=tmp_path)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "Stage 5" in shown.stdout


def test_the_demo_travels_with_it(environment: Path, tmp_path: Path) -> None:
    done = _run(environment / "venv/bin/dpotui", "init", "zoo", "--demo", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "zoo/models/demo-base/model.safetensors").is_file()
    assert "guide of a small zoo" in (tmp_path / "zoo/configs/sft_config.yaml").read_text()
