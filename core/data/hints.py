"""Strings of which one stands wherever a pattern finds something: looked for first, because that is quick."""

from __future__ import annotations


class Hints:
    """Whether a text holds one of several strings; most texts that hold none are told by a few characters."""

    def __init__(self, *strings: str, by: str = "") -> None:
        """
        Args:
            by: characters; strings that hold one of them are only looked for in texts that do.
        """
        groups: dict[str, list[str]] = {}
        for string in strings:
            groups.setdefault(next((one for one in by if one in string), ""), []).append(string)
        self._groups = tuple((one, tuple(group)) for one, group in groups.items())

    def stand_in(self, text: str) -> bool:
        for one, strings in self._groups:
            if one in text:
                for string in strings:
                    if string in text:
                        return True
        return False
