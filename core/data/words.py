"""Text as words to compare: lower-cased, without punctuation, the same however it was set."""

from __future__ import annotations

import re
import unicodedata

# Scripts that set no spaces between words: there a character counts as a word.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])[^\W_])+")
# In ASCII the same, several times quicker: all but letters and digits becomes a space.
_ASCII = {code: " " for code in range(128) if not chr(code).isalnum()}


def words(text: str) -> list[str]:
    """The words of a text in order: runs of letters and digits.

    Punctuation separates words and is dropped ("don't" is "don", "t"), so that straight and curly quotes, dashes and
    blanks are alike; letters of one look but several codes are made one (NFKC).
    """
    if text.isascii():
        return text.lower().translate(_ASCII).split()
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


def words_with_places(text: str) -> list[tuple[str, int, int]]:
    """The same words, each with where it begins and ends in the text."""
    if text.isascii():
        return [(found[0].lower(), *found.span()) for found in _WORD.finditer(text)]
    # Normalizing moves what follows: it is done for what stands between two spaces by itself.
    return [entry for found in re.finditer(r"\S+", text) for entry in _placed(found[0], found.start())]


def _placed(chunk: str, start: int) -> list[tuple[str, int, int]]:
    said = _WORD.findall(unicodedata.normalize("NFKC", chunk).lower())
    places = [found.span() for found in _WORD.finditer(chunk)]
    if [word for begin, end in places for word in words(chunk[begin:end])] != said or len(places) != len(said):
        places = [(0, len(chunk))] * len(said)  # a letter became several, or part of its neighbour
    return [(word, start + begin, start + end) for word, (begin, end) in zip(said, places, strict=True)]
