"""What is left in texts by templates, tokenizers, broken encodings and stock phrases; and answers in another script."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from core.data.hints import Hints
from core.text import one_line


class Texts(NamedTuple):
    """A pair as three texts."""

    prompt: str
    chosen: str
    rejected: str


_SPECIAL = (
    r"<\|[A-Za-z0-9_]{2,40}\|>",  # <|im_start|>, <|endoftext|>, <|eot_id|>
    r"<｜[^｜>\n]{2,40}｜>",
    r"\[/?INST\]",
    r"<</?SYS>>",
    r"</?(?:start|end)_of_turn>",
    r"<(?:bos|eos|pad|unk)>|\[(?:PAD|UNK|CLS|SEP|MASK)\]",
    r"</s>",
    r"\A<s>",
)
_ROLES = (
    r"^#{2,3} ?(?:Instruction|Response|Input|Human|Assistant|User|System|Output|Question|Answer) ?:",
    r"^(?:Human|Assistant|HUMAN|ASSISTANT|USER|SYSTEM):",
)
_MARKS = re.compile("|".join((*_SPECIAL, *_ROLES)), re.MULTILINE)
# One of these stands in every text that the pattern finds something in.
_HINTS = Hints(
    "<|",
    "<｜",
    "INST]",
    "SYS>>",
    "_of_turn>",
    "<bos>",
    "<eos>",
    "<pad>",
    "<unk>",
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "</s>",
    "<s>",
    "##",
    "Human:",
    "Assistant:",
    "HUMAN:",
    "ASSISTANT:",
    "USER:",
    "SYSTEM:",
    by="<]>#:",
)

# UTF-8 that was read as Latin-1 or Windows-1252: a lead byte as a letter, then what continues it as a mark.
_MOJIBAKE = re.compile(
    "\u00e2\u20ac[\u2122\u0153\u009d\u02dc\u00a6\u201c\u201d\u2013\u2014]"
    "|\u00e2\u0080[\u0080-\u00bf]|\u00c3[\u0080-\u00a0\u00a1-\u00bf]|\u00c2[\u0080-\u00bf]|\u00ef\u00bb\u00bf"
    "|\u00f0\u0178[\u0080-\u024f\u2013-\u2122]"
)
_STOCK = re.compile(
    r"\b(?:as an? (?:ai|artificial intelligence|large language model|language model)\b"
    r"|i am (?:just )?an? (?:ai|language model)\b|i['’]m (?:just |only )?an? (?:ai|language model)\b"
    r"|my knowledge cut-?off\b|as of my last (?:knowledge )?(?:update|training)\b)"
)
_STOCK_HINTS = Hints("an ai", "language model", "an artificial", "my knowledge", "my last")

_SCRIPTS = {
    "Latin": "A-Za-zÀ-ɏ",
    "Greek": "Ͱ-Ͽ",
    "Cyrillic": "Ѐ-ԯ",
    "Hebrew": "\u0590-\u05ff",
    "Arabic": "\u0600-\u06ff\u0750-\u077f",
    "Indic": "\u0900-\u0dff",
    "Thai": "\u0e00-\u0e7f",
    "Hangul": "\u1100-\u11ff\uac00-\ud7af",
    "Han or Kana": "\u3040-\u30ff\u3400-\u9fff",
}
_SCRIPT_PATTERNS = {name: re.compile(f"[{span}]") for name, span in _SCRIPTS.items()}
_ASCII, _NO_LETTERS = re.compile(r"[\x00-\x7f]+"), re.compile("[^A-Za-z]+")
# Who asks for another language gets its script.
_LANGUAGE = re.compile(
    r"translat|\b(?:in|into|to) (?:arabic|bengali|bulgarian|cantonese|chinese|greek|hebrew|hindi|japanese|korean"
    r"|mandarin|persian|farsi|russian|serbian|tamil|thai|ukrainian|urdu|english)\b",
    re.IGNORECASE,
)
# Letters that are looked at, and how many there must be to speak of a script.
_LOOKED, _FEWEST, _MOST = 2000, 8, 0.6


class Artefacts:
    """Looks for artefacts; `special` are the special tokens of a tokenizer, besides the common ones."""

    def __init__(self, special: tuple[str, ...] = ()) -> None:
        own = sorted({token for token in special if len(token) > 2}, key=len, reverse=True)
        self._own = re.compile("|".join(map(re.escape, own))) if own else None
        self._hints = Hints(*own)

    def look(self, texts: Texts) -> Iterator[tuple[str, str]]:
        """What stands in a pair: kinds of finding, and where and what it is."""
        whole = "\x1d".join(texts)
        plain = whole.isascii()
        if plain and not (self._may_be_marked(whole) or _STOCK_HINTS.stand_in(whole.lower())):
            return
        for name, text in zip(Texts._fields, texts, strict=True):
            mark = self._mark(text)
            if mark is not None:
                yield "template", f"{name}: {one_line(mark, 40)}"
            if not text.isascii():
                broken = _broken(text)
                if broken is not None:
                    yield "encoding", f"{name}: {broken}"
            if name != "prompt":
                low = text.lower()
                if _STOCK_HINTS.stand_in(low) and (found := _STOCK.search(low)):
                    yield "boilerplate", f"{name}: {one_line(found[0], 40)}"
        if not plain:
            yield from _other_script(texts)

    def _may_be_marked(self, text: str) -> bool:
        return _HINTS.stand_in(text) or (self._own is not None and self._hints.stand_in(text))

    def _mark(self, text: str) -> str | None:
        if self._own is not None and self._hints.stand_in(text) and (own := self._own.search(text)):
            return own[0]
        if _HINTS.stand_in(text) and (found := _MARKS.search(text)):
            return found[0]
        return None


def special_tokens(folder: Path) -> tuple[str, ...]:
    """The special tokens that a tokenizer.json names; none where it cannot be read."""
    try:
        told = json.loads((folder / "tokenizer.json").read_text("utf-8")).get("added_tokens", [])
        return tuple(str(token["content"]) for token in told if token.get("special"))
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return ()


def _broken(text: str) -> str | None:
    if "\ufffd" in text:
        return "U+FFFD, a character that was lost"
    found = _MOJIBAKE.search(text)
    return f"{found[0]}, UTF-8 read as Latin-1" if found else None


def _other_script(texts: Texts) -> Iterator[tuple[str, str]]:
    if texts.prompt.isascii() and texts.chosen.isascii() and texts.rejected.isascii():
        return
    asked = script(texts.prompt)
    if asked is None or _LANGUAGE.search(texts.prompt):
        return
    for name, text in (("chosen", texts.chosen), ("rejected", texts.rejected)):
        found = script(text)
        if found is not None and found != asked:
            yield "script", f"{name}: {found}, the prompt {asked}"


def script(text: str) -> str | None:
    """The script that most letters of a text are of; None where it has few letters or none has most."""
    text = text[:_LOOKED]
    if text.isascii():
        return "Latin" if sum(map(str.isalpha, text)) >= _FEWEST else None
    other = _ASCII.sub("", text)  # short, as a rule: only this is counted script by script
    counts = {name: len(pattern.findall(other)) for name, pattern in _SCRIPT_PATTERNS.items()}
    counts["Latin"] += len(_NO_LETTERS.sub("", text))
    total = sum(counts.values())
    most = max(counts, key=lambda name: counts[name])
    # A character of Han or Hangul says as much as a few letters.
    fewest = 3 if most in ("Han or Kana", "Hangul") else _FEWEST
    return most if total >= fewest and counts[most] >= _MOST * total else None
