"""What is drawn: of each prompt one answer of each model, mixed, nested, the same for all; the order each one's own."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UserError
from core.evaluation.ratings.sample import Catalogue, Entry, answer_key, catalogue, in_order, texts

NAMES = {"new": "final", "old": "baseline"}


def _written(tmp_path: Path, rows: list[dict[str, Any]]) -> Path:
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _rows(prompts: int) -> list[dict[str, Any]]:
    return [
        {"prompt": f"p{n}", "responses": [{"text": f"n{n}", "model": "new"}, {"text": f"o{n}", "model": "old"}]}
        for n in range(prompts)
    ]


def test_the_mean_of_the_final_model_rests_on_the_sample(tmp_path: Path) -> None:
    found = catalogue(_written(tmp_path, _rows(40)), NAMES)
    drawn = found.drawn(10, 42)
    by_role = {role: {key for key in drawn if role in found.entries[key].roles} for role in found.roles}
    assert {role: len(keys) for role, keys in by_role.items()} == {"final": 10, "baseline": 10}
    # To the same prompts: they can be compared in pairs.
    assert len({found.entries[key].prompt for key in drawn}) == 10


_ENTRIES = st.lists(
    st.tuples(st.integers(0, 15), st.sampled_from([("final",), ("baseline",), ("final", "baseline"), ("base",)])),
    min_size=1,
    max_size=40,
)


@settings(max_examples=30)
@given(_ENTRIES, st.integers(1, 20), st.integers(0, 5))
def test_smaller_samples_are_part_of_larger_ones(
    entries: list[tuple[int, tuple[str, ...]]], size: int, seed: int
) -> None:
    made = {f"key{n}": Entry(f"p{prompt}", n, roles) for n, (prompt, roles) in enumerate(entries)}
    roles = tuple(sorted({role for _, of in entries for role in of}))
    whole = Catalogue(Path("x"), made, roles)
    small, large = whole.drawn(size, seed), whole.drawn(size + 1, seed)
    assert small == large[: len(small)]
    if "final" in roles:
        prompts = {entry.prompt for entry in made.values() if "final" in entry.roles}
        finals = [key for key in small if "final" in made[key].roles]
        assert len({made[key].prompt for key in small}) == min(size, len(prompts))
        assert {made[key].prompt for key in finals} == {made[key].prompt for key in small}
        assert not any(made[key].roles == ("base",) for key in small)


def test_the_order_is_of_seed_and_name_and_mixes_the_models(tmp_path: Path) -> None:
    found = catalogue(_written(tmp_path, _rows(100)), NAMES)
    drawn = found.drawn(100, 42)
    ana, ben = in_order(drawn, 42, "ana"), in_order(drawn, 42, "ben")
    assert set(ana) == set(ben) == set(drawn)
    assert ana != ben
    assert ana == in_order(tuple(reversed(drawn)), 42, "ana")
    assert ana != in_order(drawn, 43, "ana")
    finals = ["final" in found.entries[key].roles for key in ana]
    changes = sum(a != b for a, b in pairwise(finals))
    assert 80 < changes < 120  # of 199, as tossing a coin


def test_the_same_words_of_two_models_are_rated_once(tmp_path: Path) -> None:
    row = {"prompt": "2+2?", "responses": [{"text": "4", "model": "new"}, {"text": " 4\n", "model": "old"}]}
    found = catalogue(_written(tmp_path, [row]), NAMES)
    (key,) = found.drawn(100, 1)
    assert key == answer_key("2+2?", "4")
    assert found.entries[key].roles == ("final", "baseline")
    assert texts(found.path, [key])[key] == ("2+2?", "4")


def test_models_of_a_prompt_may_stand_on_lines_of_their_own(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "responses": [{"text": m, "model": m}]} for m in ("old", "base", "new")]
    found = catalogue(_written(tmp_path, rows), NAMES)
    assert found.roles == ("final", "baseline", "base")
    assert {found.entries[key].line for key in found.drawn(5, 1)} == {1, 3}


def test_a_model_that_said_nothing_has_answered(tmp_path: Path) -> None:
    row = {"prompt": "p", "responses": [{"text": " ", "model": "new"}, {"text": "-", "model": "old"}]}
    found = catalogue(_written(tmp_path, [row]), NAMES)
    assert found.bad == 0
    drawn = found.drawn(5, 1)
    assert {text for _, text in texts(found.path, drawn).values()} == {"", "-"}


def test_rows_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    path = _written(tmp_path, _rows(2))
    with path.open("a") as file:
        file.write('{"prompt": "x"}\n')
    found = catalogue(path, NAMES)
    assert (found.bad, found.why) == (1, "line 3: responses must be a list of responses, with at least one")
    path.write_text('{"prompt": "x"}\n')
    with pytest.raises(UserError, match=r"has no answer to rate: line 1: responses must be"):
        catalogue(path, NAMES)


def test_answers_that_changed_meanwhile_are_not_shown(tmp_path: Path) -> None:
    path = _written(tmp_path, _rows(2))
    drawn = catalogue(path, NAMES).drawn(2, 1)
    _written(tmp_path, _rows(1))
    with pytest.raises(UserError, match="changed while it was read"):
        texts(path, drawn)
