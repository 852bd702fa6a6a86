"""The model card: figures of this model from facts, what is not known said, nothing of this machine, text as text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.handover import evidence
from core.store import artifacts, benchmarks, decisions, facts, files, runs
from core.store.benchmarks import Result
from core.store.decisions import Decision
from core.store.facts import Fact
from core.workspace import Workspace
from tests.core.handover import made
from tests.core.training import tiny

HOSTILE = "</td><script>alert(1)</script> | [x](http://evil.example) \x1b[31mred `tick`"


class Made:
    """A workspace with a DPO run of an adapter; what is measured of it is up to the test."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.space, self.db = tiny.workspace(folder / "w")
        config = tiny.dpo_config(**changes).model_dump(mode="json")
        self.run = runs.create(self.db, "dpo", config=config, name=HOSTILE)
        made.adapter(self.space, "outputs/dpo")
        digest = files.sha256(self.db, self.space, "outputs/dpo")
        assert digest is not None
        self.digest = digest
        artifacts.record(self.db, self.run.id, "model", "outputs/dpo", digest, 1)
        inputs = files.fingerprints(
            self.db, self.space, "models/tiny", "data/pairs_train.jsonl", "data/pairs_val.jsonl"
        )
        runs.update(self.db, self.run.id, state="finished", output_dir="outputs/dpo", inputs=inputs)

    def evaluate(self, digest: str, **found: float) -> str:
        run = runs.create(self.db, "evaluate", config={"model": {"final": "outputs/dpo"}})
        runs.update(self.db, run.id, state="finished", inputs={"outputs/dpo": digest})
        for name, value in found.items():
            facts.record(self.db, Fact(f"eval.{name}", value, run=run.id, low=value - 1, high=value + 1, n=64,
                                       source=f"measured on 64 prompts {HOSTILE}"))  # fmt: skip
        return run.id

    def card(self) -> str:
        folder = self.space.path(str(made.export(self.space, self.db, self.run.id).output_dir))
        return (folder / "README.md").read_text()


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Made]:
    found = Made(tmp_path)
    yield found
    found.db.close()


def front(card: str) -> dict[str, Any]:
    assert card.startswith("---\n")
    found = yaml.safe_load(card.split("---\n")[1])
    assert isinstance(found, dict)
    return found


def line(card: str, begins: str) -> str:
    return next(each for each in card.splitlines() if each.startswith(begins))


def test_figures_of_this_model(model: Made) -> None:
    facts.record(
        model.db, Fact("dpo.kl_divergence", 0.04321, unit="nats/token", run=model.run.id, low=0.04, high=0.05, n=16)
    )
    of_another = model.evaluate("0" * 64, win_rate=77.0)
    of_this = model.evaluate(model.digest, win_rate=61.5)
    result = Result(of_this, "final", "zoo", "accuracy", 0.75, 40, "items.jsonl", "outputs/dpo", low=0.6, high=0.86)
    benchmarks.record(model.db, result)
    decisions.record(model.db, Decision("deploy", "ana", f"good enough {HOSTILE}", run=of_this))
    card = model.card()
    assert "61.5" in line(card, "| win rate against the model before DPO")
    assert "60.5 to 62.5" in line(card, "| win rate")
    assert "77" not in line(card, "| win rate")
    assert of_another not in card
    assert line(card, "| 5 KL Divergence").split("|")[2:5] == [" PASS ", " 0.0432 ", " ≤0.1 "]
    assert line(card, "| zoo").startswith("| zoo | 0.75 | 0.6 to 0.86 | 40 | not measured |")
    assert line(card, "Decision on this model: deploy, good enough")
    assert "ana" not in re.findall(r"\w+", card)  # who signed stays in the workspace
    # What nobody measured is said, and has no number.
    assert "- gate of stage 7, Capability Retention: `eval.retention` has not been measured" in card
    assert "- human score: not measured of these weights" in card
    assert "| training.max" not in card
    assert line(card, "| `training.max_steps`").endswith("| 12 |")
    assert "mean \\|Δ log-prob\\|" in card


def test_without_any_figure(model: Made) -> None:
    card = model.card()
    assert "⚠ Nothing was measured of this model." in card
    assert "0 PASS, 0 FAIL, 0 STALE" in card
    assert "Decision" not in card


def test_stale_figures_say_so(model: Made) -> None:
    inputs = files.fingerprints(model.db, model.space, "data/pairs_train.jsonl")
    facts.record(model.db, Fact("dpo.preference_gap", 0.5, run=model.run.id, n=9, inputs=inputs, source="of the pairs"))
    (model.space.data / "pairs_train.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    card = model.card()
    assert "STALE: data/pairs" in line(card, "| preference gap, validation pairs").replace("`", "")
    assert line(card, "| 5 Preference Gap |").split("|")[2] == " STALE "


def test_foreign_text_stays_text_and_the_machine_is_not_told(model: Made) -> None:
    model.evaluate(model.digest, win_rate=61.5)
    card = model.card()
    body = card.split("---\n", 2)[2]
    assert "\x1b" not in card
    bare = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", body)
    assert "http://evil.example" in body
    assert "<script>" not in bare
    assert "](http" not in bare
    assert str(model.space.root) not in card
    assert str(Path.home()) not in card
    # A row of a table has as many cells whatever stands in it.
    rows = [each for each in body.splitlines() if each.startswith("| win rate")]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [7]


def test_front_matter(model: Made) -> None:
    card = model.card()
    assert front(card) == {
        "library_name": "mlx", "pipeline_tag": "text-generation", "tags": ["mlx", "dpo", "preference-optimization"],
    }  # fmt: skip
    assert "no card of its base names one, so ask whoever made it" in card
    (model.space.path("models/tiny") / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n")
    card = model.card()
    assert front(card)["license"] == "apache-2.0"
    assert "License: apache-2.0, as models/tiny/README" in card.replace("`", "")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        ("---\nlicense: [mit]\n---\n", None),
        ("---\nlicense: 'no\n---\n", None),
        ("---\nlicense: 'x: y\\n'\n---\n", None),
        ("license: mit\n", None),
        ("---\n!!python/object/apply:os.system ['true']\n---\n", None),
        ("", None),
    ],
)
def test_a_license_is_read_where_it_is_one(tmp_path: Path, text: str, wanted: str | None) -> None:
    (tmp_path / "README.md").write_text(text)
    assert evidence._license(Workspace(tmp_path), [tmp_path])[0] == wanted


def test_a_base_from_the_hub(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    assert evidence.hub_name(space, "org/model") == "org/model"
    cached = "/home/ana/.cache/huggingface/hub/models--org--my-model/snapshots/0123456789abcdef"
    assert evidence.hub_name(space, cached) == "org/my-model"
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    assert evidence.hub_name(space, "models/tiny") is None
    assert evidence.hub_name(space, "/home/ana/models/tiny") is None


def test_the_record_names_no_path_of_this_machine(model: Made) -> None:
    folder = model.space.path(str(made.export(model.space, model.db, model.run.id, peft=True).output_dir))
    record = json.loads((folder / "export.json").read_text())
    assert record["inputs"].keys() == {"outputs/dpo", "models/tiny", "data/pairs_val.jsonl"}
    assert [one["run"] for one in record["lineage"]] == [model.run.id]
    assert record["results"]["peft"] == {"folder": "peft", "base": "models/tiny"}


def test_gates_that_cannot_be_read_do_not_keep_a_model_here(model: Made) -> None:
    (model.space.configs / "gates.yaml").write_text("gates: [{stage: 5}]\n")
    card = model.card()
    assert "⚠ Not judged: configs/gates" in card.replace("`", "")
