"""`python -m tests.benchmarks`: measure against the peers and write the document."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import signal
import sys
from pathlib import Path

from tests.benchmarks import machine
from tests.benchmarks.document import document, load
from tests.benchmarks.environments import ROOT
from tests.benchmarks.line.page import load as load_line
from tests.benchmarks.line.page import page
from tests.benchmarks.runner import Place, measure
from tests.benchmarks.specs import PROGRAMS, profile


def main() -> None:
    arguments = _parser().parse_args()
    # An end that is asked for reaches the process that is being measured too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    quick = arguments.profile == "quick"
    results = arguments.results or arguments.cache / "results" / ("quick" if quick else "full")
    settings: dict[str, dict[str, object]] = {}
    for setting in arguments.set:
        path, _, value = setting.partition("=")
        section, _, key = path.partition(".")
        settings.setdefault(section, {})[key] = json.loads(value)
    if arguments.profile != "none":
        source, commit = ROOT, machine.commit()
        if arguments.commit:
            source, commit = machine.export(arguments.commit, arguments.cache.resolve() / "sources")
        place = Place(
            model=arguments.model.resolve() if arguments.model else None,
            pair_files=tuple(file.resolve() for file in arguments.pairs),
            device=arguments.device,
            cache=arguments.cache.resolve(),
            results=results.resolve(),
            settings=settings,
            source=source,
            commit=commit,
            interpreters={name: Path(path) for name, _, path in (p.partition("=") for p in arguments.python)},
        )
        measurements = [m for m in profile(arguments.profile) if re.search(arguments.only, m.name)]
        measure(place, measurements, arguments.programs, arguments.rounds, arguments.disturbed)
    line = page(load_line(arguments.cache / "results" / "line"))
    text = document(load(results), machine.commit(), line)
    # A hurried measurement does not replace a thorough one.
    default = arguments.cache if quick else ROOT / "docs"
    path = arguments.output or default / "BENCHMARKS.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    print(f"wrote {path}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    cache = ROOT / ".bench"
    model = os.environ.get("DPOTUI_BENCH_MODEL")
    pairs = os.environ.get("DPOTUI_BENCH_PAIRS", "")
    metal = platform.system() == "Darwin" and platform.machine() == "arm64"
    add = parser.add_argument
    add("--profile", choices=["quick", "full", "none"], default="quick", help="none: only write the document")
    add("--model", type=Path, default=Path(model) if model else None, help="model folder (float32 safetensors)")
    add("--pairs", type=Path, nargs="*", default=[Path(p) for p in pairs.split(os.pathsep) if p], help="JSONL files")
    add("--device", choices=["cpu", "gpu"], default="gpu" if metal else "cpu", help="gpu: Metal or CUDA")
    add("--only", default="", metavar="REGEX", help="measurements whose name has it")
    add("--programs", nargs="+", choices=list(PROGRAMS), default=list(PROGRAMS))
    add(
        "--python",
        action="append",
        default=[],
        metavar="PROGRAM=INTERPRETER",
        help="an environment that is there, in place of the one made for ours, mlx-lm-lora or trl",
    )
    add("--rounds", type=int, help="instead of the profile's own number")
    add(
        "--disturbed",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="measure again where other programs took more than this share of the cores, such as 0.1",
    )
    add("--set", action="append", default=[], metavar="SECTION.KEY=JSON", help="a key of dpotui's configuration")
    add("--commit", metavar="REVISION", help="measure dpotui as of a commit, not as it is in the checkout")
    add("--cache", type=Path, default=cache, help="environments, generated models, work in progress")
    add("--results", type=Path, help="JSON files, a folder for each machine; default: in the cache")
    add("--output", type=Path, help="the document; default: docs/BENCHMARKS.md, of the quick profile in the cache")
    return parser


if __name__ == "__main__":
    main()
