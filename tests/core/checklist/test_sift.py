"""What is left of the checklists when a person looks for something."""

from __future__ import annotations

from core.checklist import Item, ItemState, left, parse

_PAGE = """\
# T <!-- id: t -->

- [ ] One <!-- id: t.one -->
- [ ] Two: <!-- id: t.two -->
  - [ ] Three <!-- id: t.three -->
  - [ ] Four: _____ (target ≤1) <!-- id: t.four -->
"""


def _root() -> Item:
    root = parse(_PAGE, "configs/checklists/9-t.md").root
    assert root is not None
    return root


def _states(**said: ItemState) -> dict[str, ItemState]:
    return {item.id: said.get(item.id.removeprefix("t."), ItemState("open")) for item in _root().walk()}


def test_headings_stay_for_what_lies_in_them() -> None:
    states = _states(one=ItemState("done"), three=ItemState("done"), four=ItemState("open", verdict="FAIL"))
    assert left([_root()], states, "open") == {"t", "t.two", "t.four"}
    assert left([_root()], states, "failed") == {"t", "t.two", "t.four"}
    assert left([_root()], states, "stale") == set()
    assert left([_root()], states, "all") == set(states)


def test_a_heading_that_i_changed_is_mine_without_what_lies_in_it() -> None:
    assert left([_root()], _states(), "mine", {"t.two"}) == {"t", "t.two"}


def test_below_a_heading_that_was_found_all_is() -> None:
    states = _states(three=ItemState("done"))
    found = {"t.two"}
    assert left([_root()], states, "all", (), lambda item, _: item.id in found) == {"t", "t.two", "t.three", "t.four"}
    assert left([_root()], states, "open", (), lambda item, _: item.id in found) == {"t", "t.two", "t.four"}


def test_an_item_without_a_state_is_not_there_yet() -> None:
    assert left([_root()], {}, "all") == set()
