"""Files are changed by their values alone."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from core.config import RUN_CONFIGS
from core.config.document import parse
from core.config.draft import Draft, differences
from core.config.edit import changed_lines, rewritten, same
from core.config.form import MISSING, rows, shown, type_and_choices, typed, value_at, with_value, without
from core.config.keys import key_order
from core.config.source import ChangedElsewhere, read_source, save, save_new
from core.config.writing import flow, scalar
from core.errors import UserError
from core.workspace import templates

TEMPLATES = {kind: (templates() / f"{kind}_config.yaml").read_text() for kind in RUN_CONFIGS}


def order(kind: str) -> Any:
    return lambda path: key_order(RUN_CONFIGS[kind], path)


def change(kind: str, text: str, *changes: tuple[str, Any]) -> str:
    """The text with values at dotted keys; MISSING leaves a key out."""
    value = parse(text, "x.yaml").value
    for key, new in changes:
        path = tuple(key.split("."))
        value = without(value, path) if new is MISSING else with_value(value, path, new)
    return rewritten(text, value, "x.yaml", order(kind))


def remarks(text: str) -> list[str]:
    """The comments of a file, as YAML tells them from what stands in quotes."""
    found = []
    for line in text.splitlines():
        at = next((m.start() for m in re.finditer(r"(^|\s)#", line) if not _quoted(line[: m.start()])), None)
        if at is not None:
            found.append(line[at:].strip().lstrip("#").strip())
    return found


def _quoted(head: str) -> bool:
    return head.count('"') % 2 == 1


@pytest.mark.parametrize("kind", TEMPLATES)
def test_nothing_changed_is_the_file_itself(kind: str) -> None:
    assert change(kind, TEMPLATES[kind]) == TEMPLATES[kind]


@pytest.mark.parametrize("kind", TEMPLATES)
def test_every_value_alone_changes_one_line(kind: str) -> None:
    text, model = TEMPLATES[kind], RUN_CONFIGS[kind]
    value = parse(text, "x").value
    tried = 0
    for row in rows(model, value):
        if row.role != "field" or row.field is None or value_at(value, row.path) is MISSING:
            continue
        new = _another(type_and_choices(row.field), value_at(value, row.path))
        found = change(kind, text, (row.dotted, new))
        old_lines, new_lines = text.splitlines(), found.splitlines()
        differ = [i for i, (a, b) in enumerate(zip(old_lines, new_lines, strict=True)) if a != b]
        assert len(differ) == 1, row.dotted
        assert changed_lines(text, found) == set(differ)
        tried += 1
    assert tried > 10


def _another(shape: tuple[str, tuple[str, ...]], old: Any) -> Any:
    kind, choices = shape
    if kind == "bool":
        return not old
    if choices:
        return next((c for c in choices if c != old), "other") if isinstance(old, str) else [choices[0]]
    if kind == "number":
        return 0.125
    return {"whole": 7, "size": 7, "text": "else where", "texts": ["one"], "numbers": [0.5]}.get(kind, {"adam": {}})


_TEXT = st.text(max_size=30) | st.sampled_from(
    ["no", "1e-6", "a: b", "# x", "'", '"', "\u202e", "\x1b[31m", "~", "- a"]
)
_VALUE = {
    "bool": st.booleans(),
    "whole": st.integers(-(10**12), 10**12),
    "size": st.integers(1, 99) | st.just("auto"),
    "number": st.floats(allow_nan=False, allow_infinity=False),
    "text": _TEXT.filter(lambda text: not re.search("[\ud800-\udfff]", text)),
    "texts": st.lists(_TEXT.filter(lambda text: not re.search("[\ud800-\udfff]", text)), max_size=4),
    "numbers": st.lists(st.floats(0, 1), max_size=4),
    "mapping": st.just({"adamw": {"betas": [0.9, 0.95]}}) | st.just({}),
}


@settings(
    max_examples=60,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # to make an example smaller takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.data())
def test_any_sequence_of_changes_keeps_every_comment_and_reads_as_wanted(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(TEMPLATES)))
    text, model = TEMPLATES[kind], RUN_CONFIGS[kind]
    newline = data.draw(st.sampled_from(["\n", "\r\n"]))
    text = text.replace("\n", newline)
    if data.draw(st.booleans()):
        text = text.rstrip()
    touched: set[str] = set()
    for _ in range(data.draw(st.integers(1, 3))):  # saved and changed again
        wanted = parse(text, "x").value
        for _ in range(data.draw(st.integers(1, 6))):
            row = data.draw(
                st.sampled_from([row for row in rows(model, wanted) if row.role not in ("section", "names")])
            )
            touched.add(row.path[-1])
            if row.role == "absent":
                wanted = with_value(wanted, row.path, {"model": "m", "ask": "scores"})
            elif row.role == "name" or data.draw(st.booleans()):
                wanted = without(wanted, row.path)
            else:
                assert row.field is not None
                shape, choices = type_and_choices(row.field)
                values = st.sampled_from(choices) if choices else _VALUE[shape]
                wanted = with_value(wanted, row.path, data.draw(values))
        if kind == "judge" and data.draw(st.booleans()):
            wanted = with_value(wanted, ("judges", "one-more"), {"kind": "reward", "model": "m"})
        found = rewritten(text, wanted, "x", order(kind))
        assert same(parse(found, "x").value, wanted)
        assert ("\n" in found.replace("\r\n", "")) == ("\n" in text.replace("\r\n", ""))
        text = found
    for remark in remarks(TEMPLATES[kind]):
        # A commented value gives way to the value that is set; what is said of it stays.
        key, _, rest = remark.partition(":")
        if key in touched or (key.isidentifier() and rest):
            remark = remark.partition(" # ")[2].strip()
        assert remark in text, remark


@pytest.mark.parametrize(
    ("text", "changes", "wanted"),
    [
        ("a:\n  b: 1 # x\n  c: 2\n", [("a.b", 3)], "a:\n  b: 3 # x\n  c: 2\n"),
        ("a: {b: 1, c: 2}  # x\n", [("a.b", MISSING)], "a: {c: 2}  # x\n"),
        ("a: {b: 1}\n", [("a.d", [1, "x"])], 'a: {b: 1, d: [1, "x"]}\n'),
        ("a:\n    b:\n    - 1  # one\n    - 2\n", [("a.b", [1, 3])], "a:\n    b:\n    - 1  # one\n    - 3\n"),
        ("a:\n  b:\n    - 1  # one\n    - 2\n", [("a.b", [1])], "a:\n  b:\n    - 1  # one\n    # - 2\n"),
        ("a:\n  b:\n    - 1\n  c: 1\n", [("a.b", [1, 5])], "a:\n  b:\n    - 1\n    - 5\n  c: 1\n"),
        ("a:\n  b:\n    - 1  # one\n", [("a.b", "x")], 'a:\n  b: "x"\n    # - 1  # one\n'),
        ("a:\n  b: |\n    words # no\n    more\n\n  c: 1\n", [("a.b", "x")], 'a:\n  b: "x"\n\n  c: 1\n'),
        ("a:\n  b:\n  c: 1\n", [("a.b", 2)], "a:\n  b: 2\n  c: 1\n"),
        ("a:\n  b: 'it''s'\n", [("a.b", "that's")], "a:\n  b: 'that''s'\n"),
        ("a:\n  b: plain\n", [("a.b", "no")], 'a:\n  b: "no"\n'),
        ("a:\n  b: 1", [("a.b", MISSING), ("a.c", 2)], "a:\n  # b: 1\n  c: 2"),
    ],
)
def test_other_ways_to_write(text: str, changes: list[tuple[str, Any]], wanted: str) -> None:
    assert change("dpo", text, *changes) == wanted


@pytest.mark.parametrize(
    ("text", "key", "new"),
    [
        ("a: {b: &x 1, c: *x}\n", "a.b", 2),
        ("a: {b: &x 1, c: *x}\n", "a.c", 2),
        ("a:\n  b: [1,  # one\n      2]\n", "a.b", [1]),
        ("? a\n: {b: 1}\n", "a", MISSING),
    ],
)
def test_what_cannot_be_changed_alone_is_refused_with_its_line(text: str, key: str, new: Any) -> None:
    with pytest.raises(UserError, match=r"^x\.yaml:\d+: cannot be changed here, because .*: change it in the file"):
        change("dpo", text, (key, new))


def test_new_keys_take_the_place_of_their_commented_line_or_follow_the_key_before_them() -> None:
    found = change("dpo", TEMPLATES["dpo"], ("training.batch_tokens", 9), ("adapter.scale", 2.0))
    assert "  batch_tokens: 9  # Instead of batch_size" in found
    assert "  scale: 2.0\n  dropout" in found


def test_a_section_comes_with_an_empty_line_after_the_one_before_it() -> None:
    text = TEMPLATES["dpo"]
    start, end = text.index("kl_guard:"), text.index("compute:")
    found = change("dpo", text[:start] + text[end:], ("kl_guard.action", "stop"))
    assert '# Minimum preference gap\n\nkl_guard:\n  action: "stop"\n\ncompute:' in found


@given(st.text(max_size=40))
def test_text_is_written_so_that_it_is_read_as_it_was(text: str) -> None:
    if not re.search("[\ud800-\udfff]", text):
        for written in (scalar(text), scalar(text, plain=True), scalar(text, single=True)):
            assert yaml.safe_load(f"a: {written} # x") == {"a": text}
            assert written.isprintable()


@given(st.floats(allow_nan=False))
def test_numbers_are_written_so_that_they_are_read_as_numbers(value: float) -> None:
    read = yaml.safe_load(flow(value))
    assert isinstance(read, float)
    assert read == value


def test_small_numbers_look_as_in_the_templates() -> None:
    assert flow(1e-6) == "1.0e-6"
    assert flow(0.0001) == "1.0e-4"
    assert flow(0.15) == "0.15"
    assert flow(5e-5) == "5.0e-5"


# Files


def test_a_file_changed_by_another_program_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "dpo_config.yaml"
    path.write_text(TEMPLATES["dpo"])
    draft = Draft(read_source(path), "dpo")
    draft.set(("training", "beta"), 0.2)
    path.write_text(TEMPLATES["dpo"].replace("seed: 42", "seed: 7"))
    with pytest.raises(ChangedElsewhere, match="changed by another program"):
        draft.save()
    draft.reload()
    assert value_at(draft.value, ("training", "seed")) == 7
    assert value_at(draft.value, ("training", "beta")) == 0.2
    draft.save()
    assert "seed: 7" in path.read_text()
    assert "beta: 0.2 " in path.read_text()
    assert not draft.changed


def test_sections_that_were_taken_out_or_added_are_so_in_the_file_that_another_program_wrote(tmp_path: Path) -> None:
    path = tmp_path / "eval_config.yaml"
    path.write_text(TEMPLATES["eval"])
    draft = Draft(read_source(path), "eval")
    draft.unset(("capability_benchmarks", "mmlu"))
    draft.set(("capability_benchmarks", "mine"), {"file": "data/x.jsonl", "answer": "exact"})
    path.write_text(TEMPLATES["eval"].replace("num_shots: 8", "num_shots: 4"))
    draft.reload()
    assert list(draft.value["capability_benchmarks"]) == ["humaneval", "gsm8k", "mine"]
    assert draft.value["capability_benchmarks"]["gsm8k"]["num_shots"] == 4
    assert not draft.problems


def test_files_are_written_for_their_owner_alone_and_through_links(tmp_path: Path) -> None:
    path, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: {b: 1}\r\n")
    path.chmod(0o644)
    link.symlink_to(path)
    save(read_source(link), "a: {b: 2}\r\n")
    assert link.is_symlink()
    assert path.read_bytes() == b"\xef\xbb\xbfa: {b: 2}\r\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(tmp_path.iterdir()) == [link, path]


def test_a_new_file_never_takes_the_place_of_another(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("x: 1\n")
    with pytest.raises(UserError, match="is there already"):
        save_new(tmp_path / "a.yaml", "y: 1\n")
    with pytest.raises(UserError, match=r"ends in \.yaml"):
        save_new(tmp_path / "a.txt", "y: 1\n")
    with pytest.raises(UserError, match="cannot be written"):
        save_new(tmp_path / "none" / "a.yaml", "y: 1\n")


# Drafts


@pytest.fixture
def draft(tmp_path: Path) -> Draft:
    path = tmp_path / "dpo_config.yaml"
    path.write_text(TEMPLATES["dpo"])
    return Draft(read_source(path), "dpo")


def test_changes_can_be_taken_back_and_made_again(draft: Draft) -> None:
    draft.set(("training", "beta"), 0.2)
    draft.set(("training", "beta"), 0.3)
    assert draft.undo()
    assert value_at(draft.value, ("training", "beta")) == 0.2
    assert draft.undo()
    assert not draft.changed
    assert not draft.undo()
    assert draft.redo()
    assert draft.redo()
    assert not draft.redo()
    assert value_at(draft.value, ("training", "beta")) == 0.3
    draft.undo()
    draft.unset(("training", "seed"))
    assert not draft.redo()


def test_errors_are_those_of_the_loader_with_their_keys_and_conflicts_too(draft: Draft) -> None:
    draft.set(("training", "warmup_steps"), 2000)
    draft.set(("training", "beta_schedule"), "linear")
    found = dict(draft.problems)
    assert found[("training", "warmup_steps")].startswith("2000 must be less than max_steps (1000)")
    assert found[("training", "beta_end")] == "linear has no end to go to: set beta_end"


def test_the_values_of_a_run_are_changes_of_the_file(draft: Draft) -> None:
    run = RUN_CONFIGS["dpo"].model_validate(draft.value).model_dump(mode="json")
    draft.take(run)
    assert not draft.changed
    run["training"]["beta"], run["compute"]["dtype"], run["training"]["batch_tokens"] = 0.4, "float32", 512
    draft.take(run)
    assert [d.dotted for d in differences(draft.model, draft.value, draft.original)] == [
        "training.batch_tokens",
        "training.beta",
        "compute.dtype",
    ]
    assert differences(draft.model, draft.value, run) == []


@pytest.mark.parametrize("kind", RUN_CONFIGS)
def test_all_that_a_run_had_is_taken_over(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"{kind}_config.yaml"
    path.write_text(TEMPLATES[kind])
    draft = Draft(read_source(path), kind)
    run = draft.model.model_validate(draft.value).model_dump(mode="json")
    if kind == "judge":
        draft.set(("judges", "second"), {"model": "m"})
    if kind == "eval":
        draft.set(("alignment_evaluation", "preference_validation", "judge"), {"model": "m"})
    draft.set(("logging", "output_dir"), "outputs/other")
    assert not draft.problems
    draft.take(run)
    assert not draft.problems
    assert differences(draft.model, draft.value, run) == []
    assert draft.model.model_validate(draft.value).model_dump(mode="json") == run
    if kind == "eval":  # and what it had more than the file
        run["alignment_evaluation"]["preference_validation"]["judge"] = {"kind": "reward", "model": "r"}
        draft.take(run)
        assert not draft.problems
        assert "    judge:\n" in draft.text()


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("training.learning_rate", "1e-6", 1e-6),
        ("training.max_steps", "1e3", 1000),
        ("training.batch_size", "auto", "auto"),
        ("training.batch_size", "8", 8),
        ("compute.fp16", "no", False),
        ("compute.fp16", "maybe", "maybe"),
        ("training.loss_type", "sigmoid, sft", ["sigmoid", "sft"]),
        ("training.loss_type", "ipo", "ipo"),
        ("training.loss_weights", "1, 0.2", [1.0, 0.2]),
        ("adapter.keys", "self_attn.q_proj", ["self_attn.q_proj"]),
        ("adapter.keys", '["a", "b"]', ["a", "b"]),
        ("optimization.optimizer_config", "{adamw: {eps: 1e-7}}", {"adamw": {"eps": "1e-7"}}),
        ("logging.output_dir", "[x]", "[x]"),
        ("training.max_steps", "many", "many"),
    ],
)
def test_what_is_typed_is_what_is_meant(draft: Draft, key: str, text: str, value: Any) -> None:
    field = next(row.field for row in rows(draft.model, draft.value) if row.dotted == key)
    assert field is not None
    assert same(typed(field, text), value)
    assert same(typed(field, shown(value)), value)
