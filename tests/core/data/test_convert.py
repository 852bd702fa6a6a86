"""Formats turned into each other: what comes back is what went in, and what has no place is left out and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.convert import FORMATS, Converted, convert
from core.data.formats import transcript, write_transcript
from core.data.manifest import manifest_path
from core.data.messages import as_messages
from core.data.pairs import Pair, read_pairs
from core.errors import UserError

PAIR = {"prompt": "What is 2 + 2?", "chosen": "4", "rejected": "5"}


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def converted(folder: Path, to: str, *rows: dict[str, Any], score: str | None = None) -> tuple[Converted, list[Any]]:
    source, out = folder / "source.jsonl", folder / f"{to}.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = convert(source, out, to, score=score)
    return done, [json.loads(line) for line in out.read_text().splitlines()]


def one(folder: Path, to: str, row: dict[str, Any]) -> dict[str, Any]:
    done, rows = converted(folder, to, row)
    assert (done.rows, done.written, done.left_out) == (1, 1, {})
    return rows[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("ours", PAIR | {"chosen_score": 9.0, "rejected_score": 2.0}),
        ("plain", PAIR | {"chosen_score": 9.0, "rejected_score": 2.0}),
        ("trl", PAIR | {"score_chosen": 9.0, "score_rejected": 2.0}),
        ("conversational", {"prompt": [user("What is 2 + 2?")], "chosen": [assistant("4")],
                            "rejected": [assistant("5")], "chosen_score": 9.0, "rejected_score": 2.0}),
        ("trl-implicit", {"chosen": [user("What is 2 + 2?"), assistant("4")],
                          "rejected": [user("What is 2 + 2?"), assistant("5")],
                          "score_chosen": 9.0, "score_rejected": 2.0}),
        ("hh", {"chosen": "\n\nHuman: What is 2 + 2?\n\nAssistant: 4",
                "rejected": "\n\nHuman: What is 2 + 2?\n\nAssistant: 5", "chosen_score": 9.0, "rejected_score": 2.0}),
    ],
)  # fmt: skip
def test_every_format_is_written_as_it_is_known(tmp_path: Path, to: str, expected: dict[str, Any]) -> None:
    row = PAIR | {"chosen-rating": 9, "rejected-rating": "2", "source": "here"}
    assert one(tmp_path, to, row) == expected | {"source": "here"}


def test_what_is_told_again_in_other_fields_is_not_kept(tmp_path: Path) -> None:
    both = [user("a"), assistant("b")], [user("a"), assistant("c")]
    row = {"prompt": "a", "chosen": both[0], "rejected": both[1], "messages": both[0], "prompt_id": "x"}
    assert set(one(tmp_path, "ours", row)) == {"prompt", "chosen", "rejected", "prompt_id"}


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [
        ("The sky is blue.", "The sky is green.", ("The sky is", " blue.", " green.")),
        ("Say:\nyes", "Say:\nno", ("Say:\n", "yes", "no")),
    ],
)
def test_the_prompt_of_plain_text_is_what_both_begin_with(
    tmp_path: Path, chosen: str, rejected: str, expected: tuple[str, ...]
) -> None:
    source, out = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    source.write_text(json.dumps({"chosen": chosen, "rejected": rejected}))
    convert(source, out, "trl", common_text=True)
    assert tuple(json.loads(out.read_text()).values()) == expected
    with pytest.raises(UserError, match="prompt is missing"):
        convert(source, out, "trl")


def test_the_prompt_may_have_another_name(tmp_path: Path) -> None:
    source, out = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    source.write_text(json.dumps({"system": "", "question": "q", "chosen": "a", "rejected": "b"}))
    convert(source, out, "ours", prompt="question")
    assert json.loads(out.read_text()) == {"prompt": "q", "chosen": "a", "rejected": "b", "system": ""}
    assert json.loads(manifest_path(out).read_text())["made_by"]["parameters"] == {"to": "ours", "prompt": "question"}


# Left out


@pytest.mark.parametrize(
    ("to", "row", "kind", "words"),
    [
        ("plain", {"prompt": [user("a"), assistant("b"), user("c")], "chosen": [assistant("d")],
                   "rejected": [assistant("e")]}, "turns", "prompt holds turns (user, assistant, user)"),
        ("plain", {"prompt": [{"role": "system", "content": "a"}], "chosen": [assistant("d")],
                   "rejected": [assistant("e")]}, "turns", "place for one of the user"),
        ("hh", {"prompt": [{"role": "system", "content": "a"}, user("b")], "chosen": [assistant("d")],
                "rejected": [assistant("e")]}, "turns", "a turn of the system"),
        ("hh", PAIR | {"chosen": "It said:\n\nAssistant: no"}, "format", "as another pair"),
        ("trl-implicit", {"prompt": [user("a")], "chosen": [assistant("b"), user("c"), assistant("d")],
                          "rejected": [assistant("b"), user("c"), assistant("e")]}, "format", "as another pair"),
        ("ours", PAIR | {"rejected": "4"}, "identical", "the same as chosen"),
    ],
)  # fmt: skip
def test_what_has_no_place_is_left_out_with_its_reason(
    tmp_path: Path, to: str, row: dict[str, Any], kind: str, words: str
) -> None:
    done, rows = converted(tmp_path, to, PAIR, row)
    assert (done.written, done.left_out, len(rows)) == (1, {kind: 1}, 1)
    assert done.examples[0].line == 2
    assert words in done.examples[0].reason
    assert json.loads(manifest_path(tmp_path / f"{to}.jsonl").read_text())["counts"] == {f"left out: {kind}": 1}


def test_a_number_that_nothing_can_hold_is_left_out(tmp_path: Path) -> None:
    source = tmp_path / "a.jsonl"
    source.write_text(json.dumps(PAIR) + "\n" + json.dumps(PAIR)[:-1] + ', "n": 1e999}\n')
    assert convert(source, tmp_path / "b.jsonl", "ours").left_out == {"json": 1}


def test_nothing_to_write_is_said_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no row of it can be written as hh; line 1: .* system"):
        converted(tmp_path, "hh", {"prompt": [{"role": "system", "content": "a"}], "chosen": "b", "rejected": "c"})
    assert [path.name for path in tmp_path.iterdir()] == ["source.jsonl"]


@pytest.mark.parametrize("link", [False, True])
def test_the_input_is_never_written_over(tmp_path: Path, link: bool) -> None:
    source, out = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    source.write_text(json.dumps(PAIR))
    if link:
        out.hardlink_to(source)
    with pytest.raises(UserError, match="is the file that is read"):
        convert(source, out if link else tmp_path / "x" / ".." / "a.jsonl", "ours")
    assert source.read_text() == json.dumps(PAIR)


# Sets of scored responses


def completion(response: str, score: object, *ratings: object) -> dict[str, Any]:
    aspects = {f"aspect {n}": {"Rating": rating, "Rationale": ""} for n, rating in enumerate(ratings)}
    return {"response": response, "overall_score": score, "model": f"m-{response}", "annotations": aspects}


def test_ultrafeedback_gives_the_best_against_the_worst(tmp_path: Path) -> None:
    completions = [completion("a", 7.5), completion("b", "9"), completion("c", 2), completion("d", None)]
    row = {"source": "x", "instruction": "q", "models": ["m"], "completions": completions}
    assert one(tmp_path, "ours", row) == {
        "prompt": "q", "chosen": "b", "rejected": "c", "chosen_score": 9.0, "rejected_score": 2.0,
        "chosen_model": "m-b", "rejected_model": "m-c", "source": "x",
    }  # fmt: skip


def test_another_score_of_ultrafeedback(tmp_path: Path) -> None:
    completions = [completion("a", 1, "5", "4"), completion("b", 9, "1", "N/A"), completion("c", 9)]
    _, rows = converted(tmp_path, "ours", {"instruction": "q", "completions": completions}, score="annotations")
    assert [(row["chosen"], row["chosen_score"], row["rejected_score"]) for row in rows] == [("a", 4.5, 1.0)]


@pytest.mark.parametrize(
    ("completions", "kind"),
    [
        ([completion("a", 5), completion("b", 5)], "tie"),
        ([completion("a", 5), completion("b", None)], "single"),
        ([completion("a", 5), completion("b", "good")], "score"),
        ([completion("a", 5), completion("a", 3)], "identical"),
        ([completion("a", 5), completion("", 3)], "empty"),
        ([completion("a", 5), "b"], "type"),
    ],
)
def test_responses_that_make_no_pair(tmp_path: Path, completions: list[Any], kind: str) -> None:
    done, _ = converted(tmp_path, "ours", PAIR, {"instruction": "q", "completions": completions})
    assert done.left_out == {kind: 1}


def test_distilabel(tmp_path: Path) -> None:
    row = {
        "instruction": "q",
        "generations": ["a", "b", "c"],
        "ratings": [2, 5, None],
        "generation_models": list("xyz"),
    }
    made = one(tmp_path, "plain", row)
    assert (made["chosen"], made["chosen_model"], made["rejected"], made["rejected_model"]) == ("b", "y", "a", "x")


def test_helpsteer_rows_of_a_prompt_become_a_pair(tmp_path: Path) -> None:
    def response(prompt: str, text: str, score: int) -> dict[str, Any]:
        return {"prompt": prompt, "response": text, "helpfulness": score, "correctness": 4 - score, "verbosity": 1}

    rows = [response("p", "a", 1), response("p", "b", 4), response("q", "c", 2), response("q", "d", 2), PAIR,
            response("r", "e", 3), response("s", "f", 0), response("s", "g", 3), response("s", "h", 2)]  # fmt: skip
    done, made = converted(tmp_path, "ours", *rows)
    assert [(row["chosen"], row["rejected"]) for row in made] == [("b", "a"), ("4", "5"), ("g", "f")]
    assert made[0] == {"prompt": "p", "chosen": "b", "rejected": "a", "chosen_score": 4.0, "rejected_score": 1.0}
    assert (done.rows, done.left_out) == (5, {"single": 1, "tie": 1})
    _, other = converted(tmp_path, "ours", *rows, score="correctness")
    assert other[0]["chosen"] == "a"


def test_a_strength_becomes_two_scores(tmp_path: Path) -> None:
    row = {"context": [user("q")], "response1": "a", "response2": "b", "overall_preference": -3,
           "individual_preference": [], "domain": "x"}  # fmt: skip
    made = one(tmp_path, "plain", row)
    assert made == {
        "prompt": "q", "chosen": "a", "rejected": "b", "chosen_score": 1.0, "rejected_score": 0.0, "domain": "x",
    }  # fmt: skip


# There and back

texts = st.text(min_size=1, max_size=30).filter(lambda text: bool(text.strip()))
exchanges = st.lists(st.tuples(texts, texts), max_size=2)


@st.composite
def pair_rows(draw: st.DrawFn) -> dict[str, Any]:
    prompt, chosen, rejected = draw(texts), draw(texts), draw(texts)
    before = [turn for asked, said in draw(exchanges) for turn in (user(asked), assistant(said))]
    row: dict[str, Any] = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    if before or draw(st.booleans()):
        row = {
            "prompt": [*before, user(prompt)], "chosen": [assistant(chosen)], "rejected": [assistant(rejected)],
        }  # fmt: skip
    if draw(st.booleans()):
        row |= {"chosen_score": draw(st.floats(-1e9, 1e9)), "rejected_score": draw(st.floats(-1e9, 1e9))}
    return row


@settings(max_examples=60, deadline=None)
@given(row=pair_rows(), way=st.lists(st.sampled_from(list(FORMATS)), min_size=1, max_size=3))
def test_a_pair_comes_back_from_any_way_through_the_formats_or_is_left_out(
    tmp_path_factory: pytest.TempPathFactory, row: dict[str, Any], way: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("way")
    path = folder / "0.jsonl"
    path.write_text(json.dumps(row) + "\n")
    (first,) = read_pairs(path)
    for number, to in enumerate(way, 1):
        out = folder / f"{number}.jsonl"
        try:
            convert(path, out, to)
        except UserError as error:
            assert "no row of it can be written" in str(error)
            return
        path = out
    (last,) = read_pairs(path)
    assert isinstance(first, Pair)
    assert isinstance(last, Pair)
    for a, b, role in ((first.prompt, last.prompt, "user"), (first.chosen, last.chosen, "assistant"),
                       (first.rejected, last.rejected, "assistant")):  # fmt: skip
        assert as_messages(a, role) == as_messages(b, role)
    assert (first.chosen_score, first.rejected_score) == (last.chosen_score, last.rejected_score)


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), texts), min_size=1, max_size=4))
def test_a_transcript_is_its_turns_unless_they_quote_one(turns: list[tuple[str, str]]) -> None:
    messages = [{"role": role, "content": text} for role, text in turns]
    if not any("Human:" in text or "Assistant:" in text for _, text in turns):
        assert transcript(write_transcript(messages), "chosen") == messages


def test_it_tells_how_far_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        "".join(json.dumps({"prompt": f"p{n}", "chosen": "a", "rejected": "b"}) + "\n" for n in range(2500))
    )
    told: list[int] = []
    convert(path, tmp_path / "b.jsonl", "trl", progress=told.append)
    assert told == [1000, 2000]
