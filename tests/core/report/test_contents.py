"""What a report says: all that was measured, what was not as prominently, and nothing of this machine."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from core.report import Sources, build, page
from core.report.document import Report, Table, plain
from core.store import benchmarks, decisions, engines, facts, runs
from core.store.decisions import Decision
from core.store.facts import Fact
from tests.core.report import made
from tests.core.report.conftest import Bench

ROOT = Path(__file__).parents[3]


def rows(report: Report, section: str) -> dict[str, list[str]]:
    """Rows of a section's tables, by their first cell."""
    found = next(each for each in report.sections if each.id == section)
    tables = [block for block in found.blocks if isinstance(block, Table)]
    return {plain(cells[0]): [plain(each) for each in cells[1:]] for table in tables for cells in table.rows}


def told(bench: Bench) -> Report:
    return build(Sources(bench.db, bench.workspace))


def test_gates_stand_with_all_they_rest_on(bench: Bench) -> None:
    gates = rows(told(bench), "gates")
    assert gates["5 KL Divergence"] == [
        "FAIL", "0.1004", "≤0.1", "0.07 to 0.12", "64", "dpo-001", "2026-09-21 14:13:20 UTC", "measured",
    ]  # fmt: skip
    assert gates["7 Win Rate"][:5] == ["PASS", "61%", ">50%", "55 to 66", "200"]


def test_what_was_not_measured_is_said_with_its_reason(bench: Bench) -> None:
    missing = rows(told(bench), "missing")
    assert missing["gate of stage 7: Final KL Divergence"] == ["UNKNOWN", "the policy cannot sample here"]
    assert missing["win rate at equal length (eval.win_rate_length_controlled)"] == [
        "not measured",
        "no run measured it",
    ]
    (bench.workspace.data / "pairs.jsonl").write_text("changed\n")
    stale = rows(told(bench), "missing")
    assert stale["gate of stage 7: Win Rate"] == ["STALE", "data/pairs.jsonl changed since"]


def test_benchmarks_of_other_conditions_are_not_compared(bench: Bench) -> None:
    capability = rows(told(bench), "capability")
    assert capability["mmlu"][:6] == ["0.49", "0.43 to 0.55", "200", "0.5", "0.44 to 0.56", "200"]
    assert capability["mmlu"][-1] == "not compared: outputs/mmlu.jsonl is gone"
    assert capability["gsm8k"][-1] == "not compared: measured otherwise: shots 5 then, 8 now"
    assert capability["gsm8k"][6:8] == ["—", "—"]
    assert "mmlu: metric accuracy, harness lm_eval 0.4.13, shots 5" in page(told(bench), ".html")
    assert capability["retention, mean over benchmarks"][0] == "91.5%"
    benchmarks.record(bench.db, made.result("evaluate-002", "final", "own", 0.7))
    assert rows(told(bench), "capability")["own"][3:] == [
        "not measured", "—", "—", "—", "—", "0.25",
        "not compared: the baseline was not measured: dpotui evaluate --baseline",
    ]  # fmt: skip


def test_the_ancestry_follows_what_the_evaluation_names(bench: Bench) -> None:
    engine = engines.register(bench.db, "detached", "0.1.0", {"chip": "Apple M4 Max", "mlx": "0.32.2"})
    runs.update(bench.db, "dpo-001", engine=engine)
    # A newer DPO run that wrote something else is not the ancestor.
    made.run(bench.db, "dpo", {"model": {}}, output_dir="outputs/other")
    report = told(bench)
    ancestry = rows(report, "model")
    assert ancestry["final model (DPO)"][2:] == ["dpo-001", "ana", "2026-09-21 14:20:01 UTC"]
    assert ancestry["SFT model (baseline)"][0] == "checkpoints/sft"
    assert ancestry["base model"][:2] == ["models/base", "not there"]
    environment = rows(report, "environment")
    assert "Apple M4 Max" in environment["chip"] and "not recorded" in environment["chip"]
    differences = rows(report, "configuration")
    assert differences["training.beta"] == ["0.1", "0.2"]
    assert differences["evaluation.seed"] == ["1", "2"]


def test_people_are_heard(bench: Bench) -> None:
    text = page(told(bench), ".html")
    for words in ("clear, but long", "margins grew too fast", "the batch size was lowered to 4"):
        assert words in text
    # Nobody knows any more whose answers these were: they are no figure of a model.
    alignment = rows(told(bench), "alignment")
    assert alignment["a"] == ["not known: the answers cannot be read any more", "helpfulness", "7", "—", "2"]
    decisions.record(
        bench.db, Decision("deploy", "cy", "ship it", {"items": [{"name": "gate.x", "met": False}], "against": ["x"]})
    )
    decided = told(bench)
    assert rows(decided, "decision")["signed by"] == ["cy"]
    assert "OVERRIDE: deployed against criteria that were not met: x" in page(decided, ".html")


def test_an_empty_workspace_has_a_report_too(tmp_path: Path) -> None:
    workspace, db = made.workspace(tmp_path / "new")
    for suffix in (".md", ".html"):
        text = page(build(Sources(db, workspace)), suffix)
        assert "no model yet" in text and "no decision yet" in text
    db.close()


_PROGRAM = """
import hashlib, sys
from pathlib import Path
from core.report import Sources, build, page
from core.store import open_store
from core.workspace import open_workspace
workspace = open_workspace(Path(sys.argv[1]))
report = build(Sources(open_store(workspace.database), workspace))
print(*(hashlib.sha256(page(report, suffix).encode()).hexdigest() for suffix in (".md", ".html")))
assert not {"mlx.core", "transformers"} & set(sys.modules), "heavy"
"""


def test_the_same_database_gives_the_same_bytes_anywhere(bench: Bench, tmp_path: Path) -> None:
    here = build(Sources(bench.db, bench.workspace))
    wanted = [hashlib.sha256(page(here, suffix).encode()).hexdigest() for suffix in (".md", ".html")]
    places = (
        ("Asia/Kathmandu", "C", "1", tmp_path, bench.workspace.root),
        ("America/St_Johns", "C.UTF-8", "2", bench.workspace.root, Path()),
    )
    for zone, language, seed, folder, named in places:
        told = {"TZ": zone, "LC_ALL": language, "PYTHONHASHSEED": seed, "HOME": str(folder), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(named)],
            cwd=folder, env=os.environ | told, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.stderr == "" and done.stdout.split() == wanted


def test_nothing_of_this_machine_and_no_secret_is_in_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "very-secret-value-123")
    key = "sk-" + "a1B2" * 8
    facts.record(
        bench.db,
        Fact(
            "eval.human_score", None, source=f"{bench.workspace.root}/data/x.jsonl and /home/ana/private/y.txt, {key}"
        ),
        Fact(
            "eval.domain", 0.5, source="see https://ana:pw@host.example/v1 and C:\\Users\\ana\\z.txt file:///etc/passwd"
        ),
    )
    made.warn(bench.db, "dpo-001", f"Authorization: Bearer {'x' * 30} for /Users/ana/model")
    runs.update(
        bench.db, "dpo-001", config={"judge": {"api_key_env": "JUDGE_KEY", "api_key": "plain"}, "home": "/root/x/y"}
    )
    facts.record(bench.db, Fact("eval.checkpoint_loaded", 1.0, text=f"/home/ana/private/model {key}"))
    runs.update(bench.db, "evaluate-002", inputs={"/home/ana/private/base": made.SHA})
    decisions.record(bench.db, Decision("iterate", "cy", f"see /home/ana/private/why.txt, {key}"))
    made.rate(bench.db, "helpfulness", 3, file="/home/ana/private/answers.jsonl")
    for suffix in (".md", ".html"):
        text = page(build(Sources(bench.db, bench.workspace)), suffix)
        for word in (
            str(bench.workspace.root), "/home/ana", "/Users/ana", "Users\\ana", key, "very-secret", "ana:pw", '"plain"',
            "x" * 30, "etc/passwd", "/root/x", f">{'plain'}<",
        ):  # fmt: skip
            assert word not in text, word
        told = text.replace("`", "").replace("\\", "")
        assert "data/x.jsonl and …/y.txt, [not shown]" in told


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.policy = self.style = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        told = dict(attrs)
        self.attributes |= set(told)
        if told.get("http-equiv") == "Content-Security-Policy":
            self.policy = told["content"] or ""
        assert not any(name in told for name in ("src", "style", "onload", "srcset", "data"))
        if "href" in told:
            assert str(told["href"]).startswith("#")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "style" and not self.style:
            self.style = data


def test_the_page_loads_nothing_and_runs_nothing(bench: Bench) -> None:
    import base64

    found = _Tags()
    found.feed(page(told(bench), ".html"))
    assert "script" not in found.tags and "svg" in found.tags and "polyline" in found.tags
    digest = base64.b64encode(hashlib.sha256(found.style.encode()).digest()).decode()
    assert found.policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert "url(" not in found.style and "@import" not in found.style


def test_a_large_workspace_stays_quick_and_small(bench: Bench) -> None:
    db = bench.db
    with db.conn:
        db.conn.executemany(
            "INSERT INTO runs (id, kind, name, state, config, seed, created)"
            " VALUES (?, 'dpo', 'x', 'failed', '{}', 1, ?)",
            [(f"dpo-{number:04d}", made.NOW + number) for number in range(1000, 2000)],
        )
        db.conn.executemany(
            "INSERT INTO log (run, time, level, text) VALUES ('dpo-001', 1, 'warning', ?)",
            [(f"warning {number} " + "x" * 900,) for number in range(2000)],
        )
    for name in ("loss", "rewards/margins"):
        made.curve(db, "dpo-001", name, [1 / (1 + step) for step in range(20_000)])
    started = time.perf_counter()
    sizes = [len(page(told(bench), suffix)) for suffix in (".md", ".html")]
    assert time.perf_counter() - started < 6
    assert max(sizes) < 1_000_000
