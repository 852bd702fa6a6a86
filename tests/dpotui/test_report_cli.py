"""`dpotui report` as a person and a program call it: files, the decision, verification, exit codes, one-line errors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from core.store import decisions, facts, open_store
from core.store.facts import Fact
from dpotui import cli
from tests.core.report import made


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "work"
    made.whole(folder)[1].close()
    return folder


@pytest.fixture
def work(master: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = Path(shutil.copytree(master, tmp_path / "work"))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LOGNAME", "ana")
    return folder


def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *args: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["dpotui", "report", *args])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out, told.err


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, work: Path) -> Any:
    return lambda *args: call(capsys, monkeypatch, *args)


def test_without_a_file_it_is_markdown_on_stdout_and_nothing_is_ticked(report: Any, work: Path) -> None:
    code, out, err = report()
    assert (code, err) == (0, "") and out.startswith("# Evaluation report: outputs/dpo\n")
    assert "eval.report" not in facts.latest(open_store(work / "runs.db"))


def test_files_are_written_and_hold_until_something_changes(report: Any, work: Path) -> None:
    code, out, err = report("-o", "out/r.md", "-o", "out/r.html")
    assert (code, err) == (0, "") and out.splitlines() == [str(work / "out/r.md"), str(work / "out/r.html")]
    assert (work / "out/r.md").stat().st_mode & 0o777 == 0o600
    code, out, _ = report("--verify", "out/r.html")
    assert code == 0 and out.endswith(" same; it is what would be written now\n")
    facts.record(open_store(work / "runs.db"), Fact("eval.win_rate", 48.0, "%", "evaluate-002", source="again"))
    code, out, _ = report("--verify", "out/r.md")
    assert code == 1 and "gate/7/win_rate/value: was 61%, is 48%" in out
    code, out, _ = report("--verify", "out/r.md", "--json")
    document = json.loads(out)
    assert code == 1 and document["counts"]["changed"] > 3 and not document["good"] and document["sealed"]
    changed = next(each for each in document["figures"] if each["id"] == "gate/7/win_rate/value")
    assert (changed["outcome"], changed["was"], changed["is"]) == ("changed", "61%", "48%")


def test_a_file_for_programs_is_the_document_of_json(report: Any, work: Path) -> None:
    code, out, err = report("-o", "out/r.json", "--json")
    document = json.loads(out)
    kept = json.loads((work / "out/r.json").read_text())
    assert (code, err) == (0, "") and document["files"][0]["bytes"] == (work / "out/r.json").stat().st_size
    assert kept == {key: value for key, value in document.items() if key not in ("files", "left_alone")}
    (work / "other.json").write_text("{}")
    code, _, err = report("-o", "other.json")
    assert code == 2 and "other.json exists and is no report" in err
    code, _, err = report("--verify", "out/r.json")
    assert code == 2 and err.count("\n") == 1


def test_a_decision_is_signed_written_and_verified(report: Any, work: Path) -> None:
    code, out, err = report("--decide", "deploy", "--note", "ship it")
    assert (code, out) == (2, "") and err.count("\n") == 1 and "--against capability_retention" in err
    flags = [word for word in err.split(": ")[-1].split() if word != "--against"]
    code, out, err = report("--decide", "deploy", "--note", "ship it", *(f"--against={name}" for name in flags))
    assert (code, err) == (0, "") and out.endswith("decided: deploy\n")
    made_one = decisions.latest(open_store(work / "runs.db"))
    assert made_one is not None and (made_one.who, made_one.against) == ("ana", tuple(flags))
    text = (work / "outputs/report/report.md").read_text()
    assert "OVERRIDE: deployed against criteria that were not met" in text
    assert report("--verify", "outputs/report/report.md")[0] == 0


def test_json_is_one_document(report: Any) -> None:
    code, out, _ = report("--json")
    document = json.loads(out)
    assert code == 0 and document["decision"] is None and len(document["figures"]) > 300
    assert {each["name"]: each["verdict"] for each in document["gates"]}["win_rate"] == "PASS"
    assert [each["met"] for each in document["criteria"] if each["name"] == "gate.kl_divergence"] == [False]
    code, out, _ = report("--decide", "reject", "--note", "no", "-o", "r.html", "--json")
    document = json.loads(out)
    assert document["decision"]["choice"] == "reject" and document["files"][0]["path"].endswith("r.html")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("-o", "x.pdf"), "a report is .md, .html or .json"),
        (("-o", "configs/dpo_config.yaml"), "a report is .md, .html or .json"),
        (("-o", "configs/checklists/0-planning.md"), "exists and is no report"),
        (("--decide", "deploy"), 'needs --note "TEXT"'),
        (("--note", "x"), "go with --decide"),
        (("--verify", "none.md"), "does not exist"),
        (("--verify", "configs/gates.yaml"), "has no part that begins with"),
        (("--verify", "x.md", "-o", "y.md"), "leave out -o"),
        (("--decide", "ship", "--note", "x"), "'ship' is not one of"),
        (("-w", "/nowhere"), "/nowhere"),
        (("--decide", "iterate", "--note", "x", "-o", "x.pdf"), "a report is .md, .html or .json"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(report: Any, work: Path, args: tuple[str, ...], says: str) -> None:
    code, out, err = report(*args)
    assert (code, out) == (2, "") and says in err and err.count("\n") == 1
    assert decisions.latest(open_store(work / "runs.db")) is None
