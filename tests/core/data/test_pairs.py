"""Preference pairs: every form that is accepted, and a reason for every line that is not."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data import lines as reading
from core.data.jsonl import BadRow
from core.data.pairs import SCORE_FIELDS, Pair, read_pairs
from core.errors import UserError
from core.text import printable

GOOD = {"prompt": "What is 2 + 2?", "chosen": "4", "rejected": "5"}


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pairs.jsonl"


def rows(file: Path, *lines: dict[str, Any] | str | bytes) -> list[Pair | BadRow]:
    whole = []
    for line in lines:
        text = json.dumps(line) if isinstance(line, dict) else line
        whole.append(text if isinstance(text, bytes) else text.encode())
    file.write_bytes(b"\n".join(whole) + b"\n")
    return list(read_pairs(file))


def pair(file: Path, row: dict[str, Any]) -> Pair:
    (found,) = rows(file, row)
    assert isinstance(found, Pair), found
    return found


def bad(file: Path, row: dict[str, Any] | str | bytes) -> BadRow:
    (found,) = rows(file, row)
    assert isinstance(found, BadRow), found
    return found


# Accepted


def test_the_workflows_own_examples_are_read(file: Path) -> None:
    found = rows(
        file,
        r'{"prompt": "Write a haiku.", "chosen": "Code flows,\nBugs hide,\nLight.", "rejected": "Hard.\nCool."}',
        r'{"prompt": "What'
        "'"
        r's 15% of 80?", "chosen": "0.15 × 80 = 12\n\nSo 12.", "rejected": "12"}',
    )
    assert [(p.line, p.rejected) for p in found if isinstance(p, Pair)] == [(1, "Hard.\nCool."), (2, "12")]


def test_plain_text_is_kept_as_it_is(file: Path) -> None:
    found = pair(file, {"prompt": "Say it? ", "chosen": " Yes", "rejected": " No", "other": [1], "votes": {"a": 2}})
    assert found == Pair(1, "Say it? ", " Yes", " No")


def test_chat_messages_are_read(file: Path) -> None:
    prompt = [{"role": "system", "content": "Be brief."}, user("Hi")]
    found = pair(file, {"prompt": prompt, "chosen": [assistant("Hello")], "rejected": [assistant("Go away")]})
    assert (found.prompt, found.chosen, found.rejected) == (prompt, [assistant("Hello")], [assistant("Go away")])


def test_an_implicit_prompt_is_the_longest_run_of_whole_turns(file: Path) -> None:
    shared = [user("Hi"), assistant("Hello"), user("How are you?")]
    found = pair(file, {"chosen": [*shared, assistant("Well")], "rejected": [*shared, assistant("Well, bad")]})
    assert found.prompt == shared
    assert (found.chosen, found.rejected) == ([assistant("Well")], [assistant("Well, bad")])


def test_conversations_that_part_early_keep_their_later_turns_in_the_response(file: Path) -> None:
    chosen = [user("Hi"), assistant("Hello"), user("Thanks"), assistant("Bye")]
    rejected = [user("Hi"), assistant("What?"), user("Oh"), assistant("Bye")]
    found = pair(file, {"chosen": chosen, "rejected": rejected})
    assert (found.prompt, found.chosen, found.rejected) == (chosen[:1], chosen[1:], rejected[1:])


@pytest.mark.parametrize(
    ("prompt", "chosen"),
    [
        ("Hi", [assistant("Hello")]),  # text and messages
        ("Hi", [user("Hi"), assistant("Hello")]),  # the prompt repeated, as UltraFeedback has it
        ([user("Hi")], [user("Hi"), assistant("Hello")]),
        ([user("Hi")], "Hello"),
    ],
)
def test_mixed_forms_become_one_form(file: Path, prompt: Any, chosen: Any) -> None:
    rejected = json.loads(json.dumps(chosen).replace("Hello", "No"))
    found = pair(file, {"prompt": prompt, "chosen": chosen, "rejected": rejected})
    assert (found.prompt, found.chosen, found.rejected) == ([user("Hi")], [assistant("Hello")], [assistant("No")])


@pytest.mark.parametrize("names", SCORE_FIELDS)
def test_scores_stand_under_the_names_in_use(file: Path, names: tuple[str, str]) -> None:
    found = pair(file, GOOD | {names[0]: 9, names[1]: "3.5"})
    assert (found.chosen_score, found.rejected_score, found.score_fields) == (9.0, 3.5, "/".join(names))


@pytest.mark.parametrize(("margin", "expected"), [(0.5, 0.5), (-2, -2.0), ("1.5", 1.5), (None, None)])
def test_margins_are_read_for_those_who_ask(file: Path, margin: object, expected: float | None) -> None:
    assert pair(file, GOOD | {"margin": margin}).margin is None
    (found,) = read_pairs(file, margins=True)
    assert isinstance(found, Pair)
    assert found.margin == expected


def test_a_margin_that_is_no_number_harms_only_those_who_ask(file: Path) -> None:
    pair(file, GOOD | {"margin": "large"})
    (found,) = read_pairs(file, margins=True)
    assert isinstance(found, BadRow)
    assert (found.kind, found.field, found.reason) == ("score", "margin", "margin must be a number, not 'large'")


def test_scores_that_are_null_are_no_scores(file: Path) -> None:
    found = pair(file, GOOD | {"chosen_score": None, "rejected_score": None})
    assert (found.chosen_score, found.rejected_score, found.score_fields) == (None, None, "")
    half = pair(file, GOOD | {"chosen_score": 1, "rejected_score": None})
    assert (half.chosen_score, half.rejected_score) == (1.0, None)


def test_bom_crlf_blank_lines_and_a_missing_last_newline(file: Path) -> None:
    line = json.dumps(GOOD).encode()
    file.write_bytes(b"\xef\xbb\xbf" + line + b"\r\n\r\n  \n" + line)
    found = list(read_pairs(file))
    assert [p.line for p in found] == [1, 4]
    assert all(isinstance(p, Pair) for p in found)


def test_unicode_line_separators_do_not_split_a_row(file: Path) -> None:
    text = "a\u2028b\x85c\u2029d"
    file.write_text(json.dumps(GOOD | {"chosen": text}, ensure_ascii=False) + "\n")
    (found,) = read_pairs(file)
    assert isinstance(found, Pair)
    assert found.chosen == text


# Refused, line by line


@pytest.mark.parametrize(
    ("row", "kind", "field", "words"),
    [
        ("{", "json", None, "not JSON"),
        ("nothing", "json", None, "not JSON: Expecting value at column 1"),
        (json.dumps(GOOD) + " {}", "json", None, "Extra data"),
        ('{"prompt": NaN}', "json", None, "NaN is not a JSON number"),
        ('{"prompt": -Infinity}', "json", None, "-Infinity is not a JSON number"),
        ('{"a": ' + "9" * 5000 + "}", "json", None, "a number of more than 4300 digits"),
        ('{"a": ' + "[" * 100_000, "json", None, "nested too deep"),
        ("17", "object", None, "an object with fields is wanted, not the number 17"),
        ('{"prompt": "a", "prompt": "b"}', "duplicate_key", "prompt", "prompt stands twice in the row"),
        ('{"x": {"a": 1, "a": 2}}', "duplicate_key", "a", "a stands twice"),
        (b'{"prompt": "\xff"}', "encoding", None, "byte 0xff at column 13"),
        (GOOD | {"chosen": "\ud800"}, "encoding", "chosen", "chosen holds half of a character"),
        ({"question": "a", "chosen": "b", "rejected": "c"}, "missing", "prompt",
         "prompt is missing (the row has question, chosen, rejected)"),
        ({"prompt": "a", "chosen": "b"}, "missing", "rejected", "rejected is missing"),
        ({}, "missing", "chosen", "chosen is missing (the row has nothing)"),
        (GOOD | {"chosen": None}, "missing", "chosen", "chosen is null"),
        (GOOD | {"chosen": True}, "type", "chosen", "must be text or a list of messages, not true"),
        (GOOD | {"prompt": 3}, "type", "prompt", "not the number 3"),
        (GOOD | {"prompt": {}}, "type", "prompt", "not an object"),
        (GOOD | {"chosen": [assistant("x")]}, "type", "rejected", "must both be text or both be lists of messages"),
        (GOOD | {"prompt": ""}, "empty", "prompt", "prompt is empty"),
        (GOOD | {"rejected": " \n\t "}, "empty", "rejected", "rejected is empty"),
        (GOOD | {"rejected": []}, "empty", "rejected", "holds no messages"),
        (GOOD | {"rejected": "4"}, "identical", "rejected", "the same as chosen"),
        (GOOD | {"chosen_score": "high"}, "score", "chosen_score", "must be a number, not 'high'"),
        (GOOD | {"chosen_score": True}, "score", "chosen_score", "must be a number, not true"),
        (GOOD | {"chosen_score": [1]}, "score", "chosen_score", "must be a number, not a list"),
        (GOOD | {"rejected_score": "nan"}, "score", "rejected_score", "must be a finite number"),
        ('{"prompt": "a", "chosen": "b", "rejected": "c", "chosen_score": 1e999}', "score", "chosen_score", "finite"),
        (GOOD | {"prompt": [1]}, "messages", "prompt[0]", "must be a message with role and content"),
        (GOOD | {"prompt": [{"from": "human", "value": "x"}]}, "messages", "prompt[0]", "has from and value"),
        (GOOD | {"prompt": [{"role": "robot", "content": "x"}]}, "messages", "prompt[0].role", "not 'robot'"),
        (GOOD | {"prompt": [{"role": "user", "content": [1]}]}, "messages", "prompt[0].content", "not a list"),
        (GOOD | {"prompt": [user(" ")]}, "empty", "prompt[0].content", "is empty"),
        ({"chosen": [user("a"), assistant("b")], "rejected": [user("x"), assistant("c")]}, "prompt", "prompt",
         "begin with different turns"),
        ({"chosen": [user("a"), user("b")], "rejected": [user("a"), assistant("c")]}, "prompt", "chosen",
         "goes on after the prompt with a turn of the user"),
        ({"chosen": [user("a")], "rejected": [user("a"), assistant("c")]}, "empty", "chosen", "nothing after"),
        ({"chosen": [user("a")], "rejected": [user("a")]}, "identical", "rejected", "the same as chosen"),
        ({"prompt": "a", "chosen": [assistant("b"), user("c")], "rejected": [assistant("d")]}, "messages", "chosen",
         "ends with a turn of the user"),
    ],
)  # fmt: skip
def test_a_bad_row_names_line_field_and_reason(
    file: Path, row: dict[str, Any] | str | bytes, kind: str, field: str | None, words: str
) -> None:
    found = bad(file, row)
    assert (found.line, found.kind, found.field) == (1, kind, field)
    assert words in found.reason
    assert found.reason == printable(found.reason)
    assert "\n" not in found.reason


def test_a_bad_row_does_not_stop_the_reading(file: Path) -> None:
    found = rows(file, GOOD, "{", "", GOOD)
    assert [(p.line, isinstance(p, Pair)) for p in found] == [(1, True), (2, False), (4, True)]


def test_hostile_text_does_not_reach_the_reason(file: Path) -> None:
    found = bad(file, {"chosen": "a", "rejected": "b", "\x1b[2J\u202egnp": 1})
    assert "\x1b" not in found.reason
    assert "\u202e" not in found.reason


def test_a_line_too_long_is_passed_over(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_LINE", 200)
    found = rows(file, GOOD, GOOD | {"chosen": "x" * 1000}, GOOD)
    assert [p.line for p in found] == [1, 2, 3]
    assert isinstance(found[1], BadRow)
    assert found[1].kind == "too_long"
    assert isinstance(found[2], Pair)


# Refused as a whole


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b'[\n{"prompt": 1}]', "this is a JSON array"),
        (b"\x1f\x8b\x08\x00", "is cut off"),
        (b"PAR1xx", "is a Parquet file"),
        (b"PK\x03\x04", "is a zip archive"),
        ('{"prompt": "a"}'.encode("utf-16"), "is UTF-16"),
    ],
)
def test_what_is_no_jsonl_is_said_once(file: Path, content: bytes, words: str) -> None:
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"pairs\.jsonl") as error:
        list(read_pairs(file))
    assert words in str(error.value)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, words in (
        (tmp_path, "is a folder"),
        (tmp_path / "none", "does not exist"),
        (tmp_path / "pipe", "regular"),
    ):
        with pytest.raises(UserError, match=words):
            list(read_pairs(path))
    with pytest.raises(UserError, match="not a file name"):
        list(read_pairs(Path("a\0b")))


# Any text, any bytes

texts = st.text(min_size=1, max_size=40).filter(lambda text: bool(text.strip()))
turns = st.lists(st.builds(lambda a, b: [user(a), assistant(b)], texts, texts), max_size=2).map(
    lambda exchanges: [turn for exchange in exchanges for turn in exchange]
)


@given(prompt=texts, chosen=texts, rejected=texts, scores=st.tuples(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9)))
def test_any_text_survives(
    tmp_path_factory: pytest.TempPathFactory, prompt: str, chosen: str, rejected: str, scores: tuple[float, float]
) -> None:
    path = tmp_path_factory.mktemp("pairs") / "any.jsonl"
    row = {
        "prompt": prompt,
        "chosen": chosen,
        "rejected": rejected,
        "score_chosen": scores[0],
        "score_rejected": scores[1],
    }
    path.write_text(json.dumps(row) + "\n")
    (found,) = read_pairs(path)
    if chosen == rejected:
        assert isinstance(found, BadRow)
        assert found.kind == "identical"
    else:
        assert found == Pair(1, prompt, chosen, rejected, *scores, "score_chosen/score_rejected")


@given(shared=turns, asked=texts, chosen=texts, rejected=texts)
def test_any_conversation_splits_where_the_answers_part(
    tmp_path_factory: pytest.TempPathFactory, shared: list[dict[str, str]], asked: str, chosen: str, rejected: str
) -> None:
    path = tmp_path_factory.mktemp("pairs") / "any.jsonl"
    prompt = [*shared, user(asked)]
    row = {"chosen": [*prompt, assistant(chosen)], "rejected": [*prompt, assistant(rejected)]}
    path.write_text(json.dumps(row))
    (found,) = read_pairs(path)
    if chosen != rejected:
        assert isinstance(found, Pair)
        assert (found.prompt, found.chosen, found.rejected) == (prompt, [assistant(chosen)], [assistant(rejected)])


@given(st.binary(max_size=300))
def test_any_bytes_give_rows_or_a_sentence(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("pairs") / "any.jsonl"
    path.write_bytes(content)
    try:
        found = list(read_pairs(path))
    except UserError as error:
        assert str(error) == printable(str(error))
    else:
        assert found
        assert [row.line for row in found] == sorted({row.line for row in found})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "x"]), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["prompt", "chosen", "rejected", "chosen_score"]), json_values))
def test_any_fields_give_a_pair_or_a_reason(tmp_path_factory: pytest.TempPathFactory, row: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("pairs") / "any.jsonl"
    path.write_text(json.dumps(row) + "\n")
    (found,) = read_pairs(path)
    if isinstance(found, Pair):
        assert type(found.prompt) is type(found.chosen) is type(found.rejected)
        assert found.prompt
        assert found.chosen != found.rejected
    else:
        assert found.reason
