"""`dpotui annotate`: status, agreement, export and import as a person calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.cells import cell_len

from core.data.comparisons import comparison_key
from core.errors import UserError
from core.store import Database, facts, votes
from core.store.votes import Vote
from core.workspace import Workspace
from dpotui.cli import cli

FILE = "data/preference_pairs.jsonl"
# The answers of three people on four pairs; "good" is the chosen one of the file.
_SAID = {"ana": "good good bad tie", "ben": "good bad bad tie", "cas": "good skip good reject"}


def run(workspace: Workspace, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["annotate", *arguments, "-w", str(workspace.root)], catch_exceptions=True)


@pytest.fixture
def voted(workspace: Workspace, db: Database) -> Workspace:
    rows = [{"prompt": f"p{n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(5)]
    (workspace.root / FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    for who, said in _SAID.items():
        for number, answer in enumerate(said.split()):
            choice = {"good": "second", "bad": "first"}.get(answer, answer)
            key = comparison_key(f"p{number}", f"good {number}", f"bad {number}")
            note = "close \x1b[31mcall" if number == 1 and who == "ben" else ""
            votes.cast(db, Vote(key, choice, who, side="A", file=FILE, line=number + 1, seed=42, note=note,
                                time=1000.0 + 12 * number))  # type: ignore[arg-type]  # fmt: skip
    return workspace


def test_status(voted: Workspace) -> None:
    done = run(voted, "status")
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert lines[0] == f"{FILE}: 11 votes on 4 of 5 pairs"
    assert lines[1] == "4 pairs with several votes, 1 of them of low agreement"
    assert lines[3].split()[:7] == ["ana", "4", "1", "0", "0", "33", "%"]
    assert "5.0" in lines[3]  # a minute


def test_status_as_json_records_facts(voted: Workspace, db: Database) -> None:
    document = json.loads(run(voted, "status", str(voted.root / FILE), "--record", "--json").output)
    assert (document["votes"], document["pairs"], document["low_agreement"]) == (11, 4, 1)
    assert document["of_pairs"] == 5
    assert [person["who"] for person in document["annotators"]] == ["ana", "ben", "cas"]
    assert facts.latest(db)["data.votes"].value == 11.0
    assert facts.latest(db)["data.annotator_agreement"].n == 4
    assert facts.latest(db)["data.guidelines"].value == 0.0


def test_agreement_and_what_is_disputed(voted: Workspace) -> None:
    done = run(voted, "agreement", "--low")
    assert done.exit_code == 0
    assert "4 pairs judged by several of 3 annotators" in done.output
    assert f"{FILE}:2  1 : 1, 0 ties, 0 rejected  “close ␛[31mcall”" in done.output
    document = json.loads(run(voted, "agreement", "--json").output)
    assert [pair["line"] for pair in document["low_agreement"]] == [2]
    assert document["pairs"] == 4
    # Agreeing pairs of votes: 3 of 3, 0 of 1, 1 of 3, 1 of 3.
    assert document["observed"] == pytest.approx(5 / 10)


def test_export_and_import(voted: Workspace, tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    done = run(voted, "export", str(voted.root / FILE), "-o", str(out))
    assert done.exit_code == 0
    assert f"{out}: 2 pairs" in done.output
    assert "1  undecided" in done.output
    assert [json.loads(line)["chosen"] for line in out.read_text().splitlines()] == ["good 0", "bad 2"]
    cast = tmp_path / "votes.jsonl"
    document = json.loads(
        run(voted, "export", str(voted.root / FILE), "-o", str(cast), "--format", "votes", "--json").output
    )
    assert document["rows"] == 12
    with cast.open("a") as file:
        file.write('{"who": "x"}\n')
    done = run(voted, "import", str(cast))
    assert done.exit_code == 1
    assert "0 new votes" in done.output
    assert "12 were there already" in done.output
    assert f"{cast}:13: choice must be one of first, second, tie, reject, skip, and is missing" in done.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("status",), "nobody has voted yet: begin with 'dpotui annotate vote FILE'"),
        (("agreement", "none.jsonl"), "none.jsonl does not exist: name a file of pairs or candidates"),
        (("export", "none.jsonl", "-o", "x.jsonl"), "none.jsonl does not exist: name a file of pairs or candidates"),
        (("vote", "none.jsonl"), "none.jsonl does not exist: name a file of pairs or candidates"),
    ],
)
def test_what_is_not_there_is_one_line(workspace: Workspace, arguments: tuple[str, ...], words: str) -> None:
    done = run(workspace, *arguments)
    assert isinstance(done.exception, UserError)
    assert str(done.exception) == words


def test_no_vote_without_a_name_or_a_terminal(voted: Workspace) -> None:
    done = run(voted, "vote", str(voted.root / FILE), "--annotator", "\x1b[31m")
    assert "a name of 1 to 40 characters" in str(done.exception)
    done = run(voted, "vote", str(voted.root / FILE), "--annotator", "ana")
    assert "voting needs a terminal" in str(done.exception)


def test_status_fits_a_terminal_of_80_columns(voted: Workspace, db: Database) -> None:
    key = comparison_key("p0", "good 0", "bad 0")
    votes.cast(db, Vote(key, "first", "漢字" * 20, side="A", file=FILE, line=1, seed=42, time=2e9))
    assert max(cell_len(line) for line in run(voted, "status").output.splitlines()) <= 80
