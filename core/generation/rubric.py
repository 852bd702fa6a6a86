"""What a judge reads and what it may answer: a rubric filled with fenced texts, and the last line read strictly.

A fence keeps a response from passing for the end of the question: the word on it is made of the texts themselves and
stands in none of them, and marks of chat templates in the texts are broken, so that no response can end the user's turn
and speak as the judge. Only what the judge writes is parsed. What no fence can prevent is persuasion: a response that
flatters or orders the judge about is still read by it. Both orders take away what depends on position; scores have
nothing of the kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from core.data.messages import Text
from core.errors import UserError
from core.text import one_line, printable

MAX_BYTES = 64 * 1024
PAIRWISE, SCORE = "pairwise", "score"
LOWEST, HIGHEST = 1, 10

Letter = Literal["A", "B", "TIE"]

_WANTED = {PAIRWISE: ("prompt", "first", "second"), SCORE: ("prompt", "response")}
_HEADING = re.compile(r"^#[ \t]+(.+?)[ \t]*$", re.M)
_HOLE = re.compile(r"\{(prompt|first|second|response|fence)\}")
# What chat templates of common models are made of; a tokenizer's own special tokens come on top.
_MARKS = re.compile(
    r"<\|[^|<>\s]{1,40}\|>|<[|/]?(?:s|im_start|im_end|start_of_turn|end_of_turn|bos|eos|pad)>|\[/?INST\]|<</?SYS>>"
)
_AROUND = r"[\s*_#>\"'`()]*"
_VERDICT = re.compile(rf"{_AROUND}verdict{_AROUND}:{_AROUND}(A|B|TIE){_AROUND}\.?{_AROUND}", re.I)
_SCORE = re.compile(rf"{_AROUND}score{_AROUND}:{_AROUND}(\d{{1,2}})(?:\s*/\s*10)?{_AROUND}\.?{_AROUND}", re.I)


@dataclass(frozen=True, slots=True)
class Rubric:
    """The questions of a rubric file, with holes for the texts."""

    pairwise: str
    score: str

    def compare(self, prompt: Text, first: Text, second: Text, marks: Sequence[str] = ()) -> str:
        """The question which of two responses is better; `marks` are special tokens of who reads it."""
        return _fill(self.pairwise, {"prompt": prompt, "first": first, "second": second}, marks)

    def rate(self, prompt: Text, response: Text, marks: Sequence[str] = ()) -> str:
        """The question how good a response is."""
        return _fill(self.score, {"prompt": prompt, "response": response}, marks)


def read_rubric(path: Path) -> Rubric:
    """Read a rubric file.

    Raises:
        UserError: no such file, not text, or a question lacks its heading or a hole.
    """
    name = printable(str(path))
    try:
        if not path.is_file():
            raise UserError(f"{name} does not exist: name a rubric file, such as configs/judge_rubric.md")
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{name} is too long for a rubric (at most {MAX_BYTES} bytes)")
        text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: not UTF-8 text (byte {error.start}): save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror or error}") from error
    headings = list(_HEADING.finditer(text))
    ends = [*(heading.start() for heading in headings), len(text)][1:]
    found = {h[1].lower(): (h, text[h.end() : end].strip()) for h, end in zip(headings, ends, strict=True)}
    for heading, holes in _WANTED.items():
        if heading not in found:
            raise UserError(f"{name}: has no heading '# {heading.capitalize()}': write the question under it")
        at, question = found[heading]
        lacking = [hole for hole in holes if f"{{{hole}}}" not in question]
        if lacking:
            line = text.count("\n", 0, at.start()) + 1
            raise UserError(f"{name}:{line}: '# {at[1]}' lacks {{{lacking[0]}}}: the text goes there")
    return Rubric(found[PAIRWISE][1], found[SCORE][1])


def shown(text: Text) -> str:
    """A text for a judge: a conversation as its turns."""
    if isinstance(text, str):
        return text
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in text)


def _fill(question: str, texts: dict[str, Text], marks: Sequence[str]) -> str:
    plain = {name: harmless(shown(text).strip(), marks) for name, text in texts.items()}
    word = _fence(plain.values())
    fenced = {name: f"<<<{word}\n{text}\n{word}>>>" for name, text in plain.items()} | {"fence": word}
    # In one pass: a response that holds {second} is not filled in again.
    return _HOLE.sub(lambda hole: fenced.get(hole[1], hole[0]), question)


def _fence(texts: Sequence[str] | object) -> str:
    """A word that stands in none of the texts, the same for the same texts."""
    every = "\x1d".join(texts)  # type: ignore[arg-type]
    digest = blake2b(every.encode("utf-8", "replace"), digest_size=4)
    while (word := f"TEXT-{digest.hexdigest().upper()}") in every:
        digest.update(b"again")
    return word


def harmless(text: str, marks: Sequence[str] = ()) -> str:
    """The text with every special token broken by a space, so that a tokenizer reads it as plain text."""
    pattern = _MARKS
    own = [mark for mark in marks if len(mark) > 1]
    if own:
        pattern = re.compile("|".join([*map(re.escape, sorted(own, key=len, reverse=True)), _MARKS.pattern]))
    # What is broken may leave another mark behind it; each pass breaks at least one.
    for _ in range(16):
        text, broken = pattern.subn(lambda mark: f"{mark[0][0]} {mark[0][1:]}", text)
        if not broken:
            break
    return text


def read_verdict(answer: str) -> Letter | None:
    """The verdict on the last line of an answer; None where that line is none."""
    found = _VERDICT.fullmatch(_last_line(answer))
    return found[1].upper() if found else None  # type: ignore[return-value]


def read_score(answer: str) -> int | None:
    """The score on the last line of an answer; None where that line is none, or it is not 1 to 10."""
    found = _SCORE.fullmatch(_last_line(answer))
    score = int(found[1]) if found else 0
    return score if LOWEST <= score <= HIGHEST else None


def _last_line(answer: str) -> str:
    lines = answer.strip().splitlines()
    # A verdict is short; a megabyte without a line end is not looked through.
    return lines[-1][:200] if lines else ""


def kept(answer: str, redact: Callable[[str], str] = lambda text: text) -> str:
    """An answer as it is written down: safe to show, and no longer than a verdict has reason to be."""
    text = printable(redact(answer))
    return text if len(text) <= KEPT else text[: KEPT // 2] + " … " + text[-KEPT // 2 :]


KEPT = 4000


def in_short(answer: str) -> str:
    """An answer on one line, for the log."""
    return one_line(answer, 100) or "(nothing)"
