"""Hold a written report against runs.db and the files as they are now, figure by figure."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from core.errors import UserError
from core.report.contents import build
from core.report.document import Figure, Key
from core.report.pages import BEGIN, END, FORMATS, kept, line_hash, seal, split_hashes
from core.report.sources import Sources
from core.text import one_line, printable

Outcome = Literal["same", "changed", "stale", "gone", "tampered"]
OUTCOMES: tuple[Outcome, ...] = ("same", "changed", "stale", "gone", "tampered")

# A report is read by people. Above this it is another file that went astray.
MOST_BYTES = 16 * 1024 * 1024
# Lines that were changed, on both sides: more are not compared one by one.
_COMPARED = 10_000_000


@dataclass(frozen=True, slots=True)
class Held:
    """One figure of a report: what it was when it was written, what it is now."""

    id: str  # "fact/eval.retention/value"
    line: int  # of the file, from 1
    outcome: Outcome
    was: str
    now: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """A report that was held against its workspace.

    `lines` are lines that were changed by hand and hold no figure; `sealed` is False where the machine-readable part
    itself was changed; `whole` where the file is, byte for byte, what would be written now.
    """

    figures: tuple[Held, ...]
    lines: tuple[int, ...]
    sealed: bool
    whole: bool

    @property
    def good(self) -> bool:
        return self.sealed and not self.lines and all(held.outcome == "same" for held in self.figures)

    def count(self, outcome: Outcome) -> int:
        return sum(held.outcome == outcome for held in self.figures)


@dataclass(frozen=True, slots=True)
class _Recorded:
    line: int  # from 0, as it was written
    key: Key
    raw: str
    shown: str
    stale: str


def verify(sources: Sources, file: Path) -> Checked:
    """Look every figure of a report up again.

    Raises:
        UserError: the file cannot be read, or is no report of this program.
    """
    text = _read(file)
    visible, document = _split(file, text)
    suffix, hashes, recorded = _understood(file, document)
    lines = visible.split("\n")[:-1]
    place = _places(hashes, [line_hash(line) for line in lines])
    fresh = list(FORMATS[suffix].render(build(sources)))
    known = {line.text for line in fresh}
    found: list[Held] = []
    for number, group in groupby(recorded, key=lambda each: each.line):
        at = place.get(number)
        if at is None:
            # Where no line came or went, this is what it was changed to.
            instead = lines[number] if len(lines) == len(hashes) else ""
            found += [_changed_by_hand(sources, suffix, each, instead) for each in group]
            continue
        held = [_held(sources, suffix, each, at, lines[at]) for each in group]
        if lines[at] not in known and all(each.outcome == "same" for each in held):
            words = "what stands beside it would be written otherwise now"
            held = [replace(each, outcome="changed", why=words) for each in held]
        found += held
    moved, told = set(place.values()), {each.line for each in recorded if each.line not in place}
    strange = {index + 1 for index in range(len(lines)) if index not in moved and index not in told}
    strange |= {index + 1 for index in range(len(hashes)) if index not in place and index not in told}
    whole = [line.text for line in fresh] == lines
    return Checked(tuple(found), tuple(sorted(strange)), document["seal"] == seal(document), whole)


def _name(each: _Recorded) -> str:
    return printable("/".join(str(part) for part in each.key))


def _changed_by_hand(sources: Sources, suffix: str, each: _Recorded, instead: str) -> Held:
    now = sources.resolve(each.key)
    says = FORMATS[suffix].shown(Figure(each.key, each.shown, each.raw)) in instead
    why = "its line was changed by hand" if says else "changed by hand: its line does not say so any more"
    return Held(_name(each), each.line + 1, "tampered", each.shown, now.shown if now else "", why)


def _held(sources: Sources, suffix: str, each: _Recorded, at: int, line: str) -> Held:
    """A figure in a line that is as it was written."""
    now = sources.resolve(each.key)
    outcome: Outcome = "same"
    why = ""
    if FORMATS[suffix].shown(Figure(each.key, each.shown, each.raw)) not in line:
        outcome, why = "tampered", "its line does not say so"
    elif now is None:
        outcome, why = "gone", "there is no such thing any more"
    elif now.stale and not each.stale:
        outcome, why = "stale", now.stale
    elif kept(now) != each.raw:
        outcome = "changed"
    elif now.shown != each.shown:
        # Nothing else gives the same figure another look.
        outcome, why = "tampered", "it is not how this figure reads"
    return Held(_name(each), at + 1, outcome, each.shown, now.shown if now else "", why)


def _places(before: list[str], now: list[str]) -> dict[int, int]:
    """Where each line that is still there stands now, by where it was written."""
    if before == now:
        return {index: index for index in range(len(before))}
    found: dict[int, int] = {}
    # Equal ends are cut off first: what is compared is what was changed.
    start = 0
    while start < min(len(before), len(now)) and before[start] == now[start]:
        found[start] = start
        start += 1
    end = 0
    while end < min(len(before), len(now)) - start and before[-1 - end] == now[-1 - end]:
        found[len(before) - 1 - end] = len(now) - 1 - end
        end += 1
    middle, others = before[start : len(before) - end], now[start : len(now) - end]
    if len(middle) * len(others) > _COMPARED:
        return found
    for block in difflib.SequenceMatcher(None, middle, others, autojunk=False).get_matching_blocks():
        for index in range(block.size):
            found[start + block.a + index] = start + block.b + index
    return found


def _read(file: Path) -> str:
    name = printable(str(file))
    try:
        if not file.is_file():
            what = "is not a regular file" if file.exists() else "does not exist"
            raise UserError(f"{name} {what}: name a report that 'dpotui report -o' wrote")
        if file.stat().st_size > MOST_BYTES:
            raise UserError(f"{name} has more than {MOST_BYTES // 2**20} MiB: that is no report")
        return file.read_bytes().decode()
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not UTF-8: that is no report, or it was saved otherwise") from error


def _split(file: Path, text: str) -> tuple[str, dict[str, Any]]:
    """What is seen, and the machine-readable part."""
    name = printable(str(file))
    start = text.rfind(f"\n{BEGIN}\n")
    end = text.find(f"\n{END}", start + 1)
    if start < 0 or end < 0:
        raise UserError(f"{name} has no part that begins with '{BEGIN}': 'dpotui report -o' writes one")
    try:
        document = json.loads(text[start + len(BEGIN) + 2 : end])
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name}: its machine-readable part is broken ({one_line(str(error), 60)})") from error
    if not isinstance(document, dict):
        raise UserError(f"{name}: its machine-readable part is no object")
    # What was written behind it is seen too.
    behind = text[end + 1 + len(END) :].removeprefix("\n")
    return text[: start + 1] + (behind + "\n" if behind else ""), document


def _understood(file: Path, document: dict[str, Any]) -> tuple[str, list[str], list[_Recorded]]:
    name = printable(str(file))
    broken = UserError(f"{name}: its machine-readable part is not as this program writes it")
    suffix, lines, figures = (document.get(key) for key in ("format", "lines", "figures"))
    if suffix not in FORMATS or not isinstance(lines, str) or not isinstance(figures, list):
        raise broken
    if not isinstance(document.get("seal"), str):
        raise broken
    found = []
    for each in figures:
        if not isinstance(each, list) or len(each) != 5:
            raise broken
        line, key, *texts = each
        kinds = isinstance(key, list) and all(type(part) in (str, int) for part in key)
        if type(line) is not int or line < 0 or not kinds or not all(isinstance(text, str) for text in texts):
            raise broken
        found.append(_Recorded(line, tuple(key), *texts))
    return suffix, split_hashes(lines), found
