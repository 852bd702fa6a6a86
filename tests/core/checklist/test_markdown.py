"""Markdown of any hand becomes a tree, or one line that says where and what is wrong."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.checklist import Item, parse, render
from core.checklist.state import ItemState
from core.errors import UserError


def root(text: str, name: str = "9-mine.md") -> Item:
    found = parse(text, name).root
    assert found is not None
    return found


def outline(item: Item) -> object:
    return (item.text, [outline(child) for child in item.children]) if item.children else item.text


def fails(text: str) -> str:
    with pytest.raises(UserError) as caught:
        parse(text, "9-mine.md")
    return str(caught.value)


def test_headings_are_the_title_and_groups() -> None:
    tree = root("# Mine\n## A\n- [ ] a\n### A1 ##\n- [ ] b\n## B\n- [ ] c\n# Second\n- [ ] d\n## Prose\nno items\n")
    assert outline(tree) == ("Mine", [("A", ["a", ("A1", ["b"])]), ("B", ["c"]), ("Second", ["d"])])
    assert (tree.kind, tree.stage, tree.line) == ("stage", 9, 1)
    assert [child.kind for child in tree.children] == ["group"] * 3


def test_without_a_title_the_file_names_it() -> None:
    tree = root("- [ ] a\n# Later\n- [ ] b\n", "red-team.md")
    assert (tree.id, tree.text, tree.stage) == ("red-team", "red team", None)
    assert outline(tree) == ("red team", ["a", ("Later", ["b"])])


@pytest.mark.parametrize(
    "text",
    [
        "- [ ] a\n  - [ ] b\n    - [ ] c\n  - [ ] d\n- [ ] e\n",
        "* [ ] a\n  + [x] b\n    - [X] c\n  1. [ ] d\n2) [ ] e\n",
        "- [ ] a\r\n  - [ ] b\r\n    - [ ] c\r\n  - [ ] d\r\n- [ ] e\r\n",
        "- [ ] a\n\t- [ ] b\n\t\t- [ ] c\n\t- [ ] d\n- [ ] e",
        " - [ ] a\n    - [ ] b\n       - [ ] c\n   - [ ] d\n- [ ] e\n",
        "-   [ ]   a\n\n     - [ ] b\n\n        - [ ] c\n  prose\n   - [ ] d\n- [ ]\te\n",
        "\ufeff- [ ] a\n   - [ ] b\n     - [ ] c\n  - [ ] d   \n - [ ] e\n",
    ],
    ids=["plain", "bullets", "crlf", "tabs", "odd", "loose", "bom"],
)
def test_any_hand(text: str) -> None:
    assert outline(root(text)) == ("mine", [("a", [("b", ["c"]), "d"]), "e"])


def test_boxes() -> None:
    assert [item.box for item in root("- [ ] a\n- [x] b\n- [X] c\n").children] == [False, True, True]


def test_lists_links_and_notes_are_prose() -> None:
    text = (
        "- [link](there)\n- [x](there)\n- [ ][ref]\n- [1] Rafailov et al.\n- plain\n> - [ ] quoted\n"
        "<!-- a\n- [ ] hid\n-->\n"
        "Write `- [ ] text` and `<!-- id: x -->`.\n<!-- a remark -->\n- [ ] real <!-- TODO: ask Bob -->\n"
    )
    assert outline(root(text)) == ("mine", ["real"])


def test_code_belongs_to_the_item_above() -> None:
    text = "- [ ] a\n  ~~~~json\n  {\n    - [ ] no item\n  ~~~\n  ~~~~\n- [ ] b\n```\n- [ ] no\n```\n"
    a, b = root(text).children
    assert a.code == "{\n  - [ ] no item\n~~~"
    assert b.code is None


def test_a_file_without_items_is_no_checklist() -> None:
    assert parse("# Notes\n\n- a\n", "notes.md").root is None


@pytest.mark.parametrize(
    ("line", "label", "unit", "bare"),
    [
        ("MMLU score: _____", "MMLU score", "", True),
        ("HumanEval pass@1: ___", "HumanEval pass@1", "", True),
        ("Retention rate: _____ % (target ≥95%)", "Retention rate", "%", True),
        ("Accuracy: _____ (target ≥70%)", "Accuracy", "%", False),
        ("Human eval score: _____ /10", "Human eval score", "/10", True),
        ("Throughput (examples/sec): _____", "Throughput", "examples/sec", True),
        ("Peak memory: _____ GB", "Peak memory", "GB", True),
        ("First token (ms) = _____ ", "First token", "ms", True),
        ("Judge (human/AI): _____", "Judge (human/AI)", "", True),
        ("Latency: _____ <!-- unit: ms -->", "Latency", "ms", False),
        ("`__init__` of `a_____b`: _____", "of : ", "", True),
    ],
)
def test_blanks(line: str, label: str, unit: str, bare: bool) -> None:
    (item,) = root(f"- [ ] {line}\n").children
    (blank,) = item.blanks
    assert (blank.unit, blank.bare) == (unit, bare)
    assert blank.label == label.strip(" :") or "`" in line
    assert set(f"- [ ] {line}"[blank.start : blank.end]) == {"_"}


@pytest.mark.parametrize(
    ("line", "target"),
    [
        ("KL divergence ≤0.1", "≤0.1"),
        ("a >= 1,000 pairs", "≥1000"),
        ("(train/val gap <10%)", "<10%"),
        ("better than chance >50 %.", ">50%"),
        ("cost ≤ -1.5e-3", "≤-0.0015"),
        ("score: _____ /10 (≥7)", "≥7/10"),
        ("speed (pairs/s): _____ >5", ">5 pairs/s"),
        ("rank = 8, lr 1e-6 -> 1e-5, a=>3, <b>, v ≥2x, < 3.1.4", None),
        ("between ≥1 and ≤2", None),
        ("`≥3` is code", None),
        ("≈0 is a wish", "≈0"),
        ("no number <!-- target: >0 -->", ">0"),
        ("exactly <!-- target: = 3 -->", "=3"),
        ("≥1 or ≤2 <!-- target: ≤2 -->", "≤2"),
    ],
)
def test_targets(line: str, target: str | None) -> None:
    (item,) = root(f"- [ ] {line}\n").children
    assert (str(item.target) if item.target else None) == target


def test_the_comment() -> None:
    (item,) = root(
        "- [ ] a ≈1: _____ / ___ <!--fact: a.b , - tolerance:1e-4 id: x.y tick: person--> <!-- TODO -->\n"
    ).children
    assert (item.id, item.own_id, item.facts, item.fact, item.signed) == ("x.y", True, ("a.b",), "a.b", True)
    assert [blank.fact for blank in item.blanks] == ["a.b", None]
    assert item.text == "a ≈1: _____ / ___"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n- [] a\n", "9-mine.md:2: '- []' is no box: write '- [ ] text' or '- [x] text'"),
        ("- [-] a", "9-mine.md:1: '- [-]' is no box"),
        ("- [✓] a", "is no box"),
        ("-[ ] a", "is no box"),
        ("- [x]a", "is no box"),
        ("- [  ] a", "is no box"),
        ("- [ ]\n", "an item without text"),
        ("- [ ] <!-- id: x -->", "an item without text"),
        ("- [ ] a <!-- fcat: sft.mmlu -->", "unknown key 'fcat' in the comment: did you mean 'fact'?"),
        ("- [ ] a <!-- id: a colour: red -->", "unknown key 'colour' in the comment: known are id, fact"),
        ("- [ ] a <!-- id: a id: b -->", "'id' stands twice"),
        ("- [ ] a <!-- id: -->", "'id:' in the comment has no value"),
        ("- [ ] a <!-- id: a b -->", "'a b' is no id"),
        ("- [ ] a <!-- fact: Sft.MMLU -->", "'Sft.MMLU' is no name of a fact"),
        ("- [ ] a <!-- fact: a,,b -->", "'' is no name of a fact"),
        ("- [ ] a ___ <!-- fact: a, b -->", "2 facts for 1 blank(s)"),
        ("- [ ] a <!-- target: lots -->", "'target: lots' is no target"),
        ("- [ ] a <!-- target: measured -->", "without a fact"),
        ("- [ ] a <!-- tick: me -->", "only 'tick: person'"),
        ("- [ ] a <!-- fact: f target: ≈0 -->", "how near is ≈?"),
        ("- [ ] a ≥1 <!-- fact: f tolerance: 1 -->", "the target is ≥1"),
        ("- [ ] a ≈1 <!-- fact: f tolerance: x -->", "'tolerance: x' is no number"),
        ("- [ ] a <!-- tolerance: 1 -->", "'tolerance' without a target"),
        ("- [ ] a ≥1 ≤2 ___", "several comparisons in one item"),
        ("- [ ] a ___ % (≥3/10)", "the blank's unit is '%', that of the target '/10'"),
        ("- [ ] a ___ % <!-- unit: ms -->", "the blank's unit is '%' in the text and 'ms'"),
        ("- [ ] a <!-- unit: ms -->", "'unit' without a blank"),
        ("- [ ] a <!-- id: a", "a comment is not closed on its line"),
        ("- [ ] a <!-- id: a --><!-- fact: b -->", "two comments with keys"),
        ("- [ ] a" + " ___ x" * 9, "9 blanks on one line"),
        ("a\n<!-- id: a -->\n", "9-mine.md:2: this comment belongs to no item"),
        ("# A <!-- fact: a -->", "'fact' means nothing on a heading"),
        ("- [ ] a\n  ```\n- [ ] b\n", "9-mine.md:2: the block opened here with '```' is never closed"),
        ("- [ ] a\n<!-- b\n", "9-mine.md:2: the comment opened here is never closed"),
        ("- [ ] a\x1b[2J\n", "9-mine.md:1: control character 0x1b"),
        ("- [ ] a <!-- id: x -->\n\n- [ ] b <!-- id: x -->\n", "9-mine.md:3: id 'x' is that of line 1 too"),
        ("- [ ] a <!-- fact: f -->\n  - [ ] b\n", "9-mine.md:1: line 2 is a sub-item"),
        ("\n".join("  " * n + "- [ ] a" for n in range(25)), "9-mine.md:25: nested more than 24 deep"),
    ],
)
def test_one_clear_line(text: str, message: str) -> None:
    said = fails(text)
    assert message in said
    assert re.match(r"9-mine\.md:\d+: ", said)
    assert "\n" not in said


# ids ------------------------------------------------------------------------------------------------------------------


def ids(text: str) -> dict[str, str]:
    """Text of each item, made unique by those above it, to its id."""
    found: dict[str, str] = {}

    def walk(item: Item, path: str) -> None:
        for child in item.children:
            found[f"{path}/{child.text}"] = child.id
            walk(child, f"{path}/{child.text}")

    walk(root(text, "8-red-team.md"), "")
    return found


def test_ids_are_made_of_the_items_own_words() -> None:
    text = (
        "# Red team <!-- id: red -->\n## Über-prüfung\n- [ ] Jailbreaks tried: _____ (≥100)\n  - [ ] 漢字\n- [ ] ???\n"
    )
    assert ids(text) == {
        "/Über-prüfung": "red.über-prüfung",
        "/Über-prüfung/Jailbreaks tried: _____ (≥100)": "red.jailbreaks-tried",
        "/Über-prüfung/Jailbreaks tried: _____ (≥100)/漢字": "red.漢字",
        "/Über-prüfung/???": "red.item-" + hashlib.sha256(b"???").hexdigest()[:8],
    }
    assert ids("- [ ] " + "word " * 40)["/" + ("word " * 40).strip()] == "red-team." + "-".join(["word"] * 12)


def test_the_same_words_are_told_apart_by_their_parents() -> None:
    text = "- [ ] A\n  - [ ] Done\n- [ ] B\n  - [ ] Done\n  - [ ] Done\n- [ ] Other\n"
    assert list(ids(text).items()) == [
        ("/A", "red-team.a"),
        ("/A/Done", "red-team.a.done"),
        ("/B", "red-team.b"),
        ("/B/Done", "red-team.b.done-2"),
        ("/Other", "red-team.other"),
    ]


def test_an_id_in_the_file_is_never_made_again() -> None:
    assert ids("- [ ] Done\n- [ ] x <!-- id: red-team.done -->\n")["/Done"] == "red-team.done-2"


WORDS = st.lists(st.sampled_from(["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]), min_size=1, max_size=3)


@given(st.lists(WORDS, min_size=1, max_size=6, unique_by=tuple), WORDS, st.integers(0, 6), st.booleans())
def test_ids_survive_new_and_reworded_neighbours(texts: list[list[str]], new: list[str], at: int, reword: bool) -> None:
    lines = [f"- [ ] {' '.join(words)}" for words in texts]
    before = ids("\n".join(lines))
    added = f"- [ ] new {' '.join(new)}"
    at = min(at, len(lines) - 1)
    changed = [*lines[:at], added, *lines[at + int(reword) :]]
    after = ids("\n".join(changed))
    assert {text: name for text, name in after.items() if text in before} == {
        text: name for text, name in before.items() if f"- [ ] {text[1:]}" in changed
    }


# any text -------------------------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [*"-*+# \t\n\r`~_<>%[]()xX≥≤≈=:1.,/", "- [ ] ", "- [x] ", "  ", "_____", "<!--", "-->", "id: ", "fact: ", "a.b",
     "≥0.15", "```", "\n- [ ] a", "\n  - [ ] b: _____ %", "target: ", "measured", "tolerance: 1e-4",
     "\ufeff", "é", "\x1b"]
)  # fmt: skip
ANYTHING = st.lists(PIECES, max_size=40).map("".join) | st.text(max_size=80)


@given(ANYTHING)
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        document = parse(text, "9-mine.md")
    except UserError as error:
        assert re.match(r"9-mine\.md:[0-9]+: .", str(error))
        assert len(str(error).splitlines()) == 1
        return
    if document.root is None:
        return
    nodes = list(document.root.walk())
    lines = text.split("\n")
    assert len({node.id for node in nodes}) == len(nodes)
    for node in nodes[1:]:
        assert node.text or node.kind == "group"
        assert node.kind == "group" or lines[node.line - 1][node.box_at] in " xX"
        assert all(set(lines[node.line - 1][b.start : b.end]) == {"_"} for b in node.blanks)
        assert not (node.children and node.facts)
    # Nobody said anything: every box is as the file has it, and the text is as it was.
    untouched = {
        node.id: ItemState("done" if _done(node) else "open", values=(None,) * len(node.blanks)) for node in nodes
    }
    assert render(document, untouched) == text


def _done(item: Item) -> bool:
    return (
        item.box if item.leaf else all(_done(c) for c in [c for c in item.children if not c.optional] or item.children)
    )
