"""Hints: never silent where one of their strings stands."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.data.artefacts import Artefacts, Texts
from core.data.hints import Hints
from core.data.personal import look, may_hold

STRINGS = ("<|", "</s>", "INST]", "Human:", "an ai", "##")


@given(st.lists(st.sampled_from(["<|", "<", "|", "/s>", "</s>", "INST", "]", "Human", ":", "an ai", "#", "##", " "])))
def test_it_says_what_looking_for_each_says(parts: list[str]) -> None:
    text = "".join(parts)
    expected = any(string in text for string in STRINGS)
    assert Hints(*STRINGS).stand_in(text) == Hints(*STRINGS, by="<:]").stand_in(text) == expected
    assert not Hints().stand_in(text)


PIECES = st.sampled_from(
    [
        *("ann@example.org ", "call 555 123 4567 ", "tel: ", "+49 30 1234567 ", "password=a8Fk2mQz9LpXw3Rt ", "AKIA"),
        *("hf_" + "a1B2" * 9, "(202) 555-0143 ", "the hotel ", "Ä", "\x1d", "[INST] ", "as an AI, ", "\ufffd", "no "),
    ]
)


@given(st.lists(PIECES).map("".join), st.lists(PIECES).map("".join), st.lists(PIECES).map("".join))
def test_a_look_at_all_three_texts_misses_nothing_of_one(prompt: str, chosen: str, rejected: str) -> None:
    texts = Texts(prompt, chosen, rejected)
    if any(True for text in texts for _ in look(text)):
        assert may_hold("\x1d".join(texts))
    alone = [Texts(prompt, "", ""), Texts("", chosen, ""), Texts("", "", rejected)]
    found = [one for texts in alone for one in Artefacts().look(texts)]
    assert [one for one in Artefacts().look(texts) if one[0] != "script"] == found
