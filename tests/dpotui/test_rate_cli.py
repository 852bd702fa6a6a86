"""`dpotui annotate rate`, and marks through export and import, as a person calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.cells import cell_len

from core.errors import UserError
from core.evaluation.ratings.source import Source
from core.store import Database, facts, ratings
from core.store.ratings import Rating
from core.workspace import Workspace
from dpotui.cli import cli
from dpotui.results import human
from dpotui.roles import plain
from tests.core.evaluation.ratings.conftest import FILE, answers, evaluated


def run(workspace: Workspace, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["annotate", *arguments, "-w", str(workspace.root)], catch_exceptions=True)


@pytest.fixture
def rated(workspace: Workspace, db: Database) -> Source:
    source = evaluated(workspace, db, answers())
    for key, entry in source.catalogue().entries.items():
        for number, who in enumerate(("ana", "ben")):
            mark = 5 + entry.line % 4 + ("final" in entry.roles) + (number if entry.line % 3 else 0)
            for criterion in source.criteria:
                ratings.rate(db, Rating(key, criterion, who, mark, "", FILE, entry.line, time=1000.0 + entry.line))
    first = next(iter(source.catalogue().entries))
    ratings.rate(db, Rating(first, "", "ben", None, "cites \x1b[31ma [b]law\n that is none", FILE, 1, time=2000.0))
    return source


def test_count_shows_and_records(workspace: Workspace, db: Database, rated: Source) -> None:
    done = run(workspace, "rate", "--count")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0] == f"{FILE}: 144 marks, a sample of 24 answers, seed 42"
    assert lines[1].split() == ["ana", "72", "marks", "on", "24", "answers,", "0", "passed", "over,", "0", "notes"]
    assert lines[4].split() == ["of", "10", "final", "baseline", "difference"]
    assert "+1.00 (1.00–1.00)" in done.output
    assert "12 of 12" in done.output
    assert f"{FILE}:1 final  “cites ␛[31ma [b]law that is none”" in done.output
    assert "\x1b" not in done.output
    assert max(cell_len(line) for line in lines[:10]) <= 80
    assert facts.latest(db)["eval.human_score"].n == 12
    alpha = facts.latest(db)["eval.human_agreement"].value
    assert alpha is not None
    assert 0 < alpha < 1


def test_json_is_one_document(workspace: Workspace, rated: Source) -> None:
    document = json.loads(run(workspace, "rate", "--json").output)
    assert (document["marks"], document["sample"], document["run"]) == (144, 24, "evaluate-001")
    assert [model["model"] for model in document["models"]] == ["final", "baseline"]
    assert document["models"][0]["scores"]["all"]["n"] == 12
    assert document["difference"]["all"] == pytest.approx(
        {"mean": 1.0, "low": 1.0, "high": 1.0, "n": 12, "paired": True}
    )
    assert document["agreement"]["all"]["answers"] == 24
    assert [fact["name"] for fact in document["facts"]] == ["eval.human_score", "eval.human_agreement"]


def test_the_pane_of_stage_7(workspace: Workspace, db: Database, rated: Source) -> None:
    block = human.read(db, workspace, None)
    assert block is not None
    for width in (40, 78, 120):
        rows = block.lines(width)
        assert all(sum(cell_len(text) for text, _ in row) <= max(width, 17 + 2 * 19) for row in rows)
        assert all(text == plain(text) for row in rows for text, _ in row)
    words = "\n".join("".join(text for text, _ in row) for row in block.lines(78))
    assert "difference" in words
    assert "agreement: Krippendorff's alpha" in words
    assert "2 raters (ana, ben)" in words
    assert "ben: cites ␛[31ma [b]law that is none" in words
    assert "of whose answers: dpotui annotate rate --count" in words


def test_the_pane_before_anything_is_rated(workspace: Workspace, db: Database) -> None:
    assert human.read(db, workspace, None) is None
    evaluated(workspace, db, answers())
    block = human.read(db, workspace, None)
    assert block is not None
    assert [text for text, _ in block.lines(80)[0]][1] == "h"


def test_a_sheet_out_and_back(workspace: Workspace, db: Database, rated: Source, tmp_path: Path) -> None:
    sheet = tmp_path / "cas.jsonl"
    done = run(workspace, "export", "--format", "sheet", "--as", "cas", "-o", str(sheet))
    assert done.output == f"{sheet}: 24 answers to rate\n"
    rows = [json.loads(line) for line in sheet.read_text().splitlines()]
    rows[0].update(helpfulness=3, harmlessness=4, honesty=5, note="short")
    rows[1].update(helpfulness=30)
    sheet.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run(workspace, "import", str(sheet))
    assert done.exit_code == 1
    assert "4 new marks and notes, 0 in place of older ones" in done.output
    assert "22 of 23 rows are not filled in" in done.output
    assert f"{sheet}:2: helpfulness must be a whole number from 1 to 10" in done.output
    assert facts.latest(db)["eval.human_score"].source.count("cas") == 1
    everything = tmp_path / "marks.csv"
    document = json.loads(run(workspace, "export", "--format", "ratings", "-o", str(everything), "--json").output)
    assert document["rows"] == 49
    document = json.loads(run(workspace, "import", str(everything), "--of", str(rated.path), "--json").output)
    assert (document["new"], document["changed"], document["known"]) == (0, 0, 144 + 1 + 4)


def test_the_assessment_from_the_command_line(workspace: Workspace, rated: Source) -> None:
    done = run(workspace, "rate", "--assess", "Careful, at times too short", "--as", "ana")
    assert done.output == "eval.qualitative: Careful, at times too short\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("rate",), "no evaluation has written answers yet: run 'dpotui evaluate' (its part win_rate does), or name"),
        (("rate", "none.jsonl"), "none.jsonl does not exist: name a file of pairs or candidates"),
        (("rate", "--count"), "no evaluation has written answers yet"),
        (("rate", "--count", "--size", "5"), "--size and --seed are for rating: the sample that is counted is that of"),
        (("export", "-o", "x.jsonl"), "name the file of pairs or candidates that was voted on"),
        (("export", "--format", "sheet", "-o", "x.jsonl"), "--as NAME and --format sheet belong together"),
    ],
)
def test_what_cannot_be_is_one_line(workspace: Workspace, arguments: tuple[str, ...], words: str) -> None:
    done = run(workspace, *arguments)
    assert isinstance(done.exception, UserError)
    assert str(done.exception).startswith(words)


def test_rating_needs_a_terminal_and_a_name(workspace: Workspace, rated: Source) -> None:
    assert "a name of 1 to 40 characters" in str(run(workspace, "rate", "--as", "\x1b[31m").exception)
    assert "rating needs a terminal" in str(run(workspace, "rate", "--as", "ana").exception)
