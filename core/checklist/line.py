"""One line of an item: its blanks with their units, its target, its comment."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal

from core.checklist import comment, ids
from core.checklist.tree import Blank, Op, Target

MOST_BLANKS = 8

NUMBER = r"(?>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?>[eE][+-]?[0-9]{1,3})?"
_GROUPED = rf"(?>[1-9][0-9]{{0,2}}(?:,[0-9]{{3}})+(?:\.[0-9]+)?|{NUMBER})"
# `->` and `=>` are arrows, `=` in prose assigns (`rank = 8`): as a target it stands in the comment only.
_TARGET = re.compile(rf"(?<![-=<>])(≥|≤|≈|>=|<=|>|<)\s*([+-]?{_GROUPED})\s*(%|/[0-9]+)?(?!\.?\w)")
_WRITTEN_TARGET = re.compile(rf"(≥|≤|≈|>=|<=|==|>|<|=)\s*([+-]?{_GROUPED})\s*(%|/[0-9]+)?")
_OPS: dict[str, Op] = {"≥": "≥", "≤": "≤", "≈": "≈", ">": ">", "<": "<", "=": "=", ">=": "≥", "<=": "≤", "==": "="}

# Three underscores or more that are not part of a word or of emphasis.
_BLANK = re.compile(r"(?<![\w*])_{3,}(?![\w*])")
_UNIT = (
    r"%|/[0-9]+|[A-Za-z]+/(?:s|secs?|seconds?|min|minutes?|h|hours?|days?|steps?|tokens?|pairs?|prompts?)"
    r"|ms|s|sec|min|h|[KMGT]i?B|nats?|bits?|W|°C"
)
_UNIT_AFTER = re.compile(rf"\s*({_UNIT})(?!\w)")
_UNIT_BEFORE = re.compile(rf"\(\s*({_UNIT})\s*\)[\s:=]*$")

_COMMENT = re.compile(r"<!--(.*?)-->")
_CODE = re.compile(r"(`+)[^`]+\1(?!`)")
_FACT = re.compile(r"[a-z0-9_]+(?:\.[a-z0-9_]+)*")
_OPTIONAL = re.compile(r"\(?optional\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Line:
    """What the text of an item or heading says. Columns count from the start of the text."""

    text: str
    id: str | None = None
    blanks: tuple[Blank, ...] = ()
    unit: str = ""
    target: Target | None = None
    facts: tuple[str, ...] = ()
    measured: bool = False
    signed: bool = False
    optional: bool = False


def _mask(text: str, *patterns: re.Pattern[str]) -> str:
    """The text with what the patterns find blotted out, so that every column stays where it is."""
    for pattern in patterns:
        text = pattern.sub(lambda found: "\0" * len(found[0]), text)
    return text


def without_code(text: str) -> str:
    """The text with its code spans blotted out: what stands in them is shown, not read."""
    return _mask(text, _CODE)


def visible(text: str) -> str:
    """The text without its comments."""
    masked = without_code(text)
    for found in reversed(list(_COMMENT.finditer(masked))):
        text = text[: found.start()] + text[found.end() :]
    return text.strip()


def literals(text: str) -> list[str]:
    """The pieces of an item's visible text around its blanks."""
    pieces, start = [], 0
    for found in _BLANK.finditer(without_code(text)):
        pieces.append(text[start : found.start()])
        start = found.end()
    return [*pieces, text[start:]]


def underscores(text: str) -> list[str]:
    """The blanks of an item's visible text, as they are written."""
    return [found[0] for found in _BLANK.finditer(without_code(text))]


def matcher(text: str) -> re.Pattern[str]:
    """What an item's visible text looks like with anything in its blanks, one group for each."""
    pieces = [r"\s+".join(map(re.escape, piece.split())) for piece in literals(text)]
    return re.compile(r"\s*" + r"\s*(.*?)\s*".join(pieces) + r"\s*")


def slug_of(text: str) -> str:
    """The id of an item from its words, without blanks and thresholds: a stricter target makes no new item."""
    return ids.slug(_TARGET.sub(" ", " ".join(literals(text))))


def _pairs(raw: str, masked: str, allowed: tuple[str, ...]) -> dict[str, str]:
    found = [raw[m.start(1) : m.end(1)] for m in _COMMENT.finditer(masked)]
    if "<!--" in _COMMENT.sub("", masked):
        raise ValueError("a comment is not closed on its line: end it with '-->'")
    ours = [body for body in found if comment.is_ours(body)]
    if len(ours) > 1:
        raise ValueError("two comments with keys on one line: join them")
    pairs = comment.read(ours[0], allowed) if ours else {}
    if "id" in pairs and not ids.WRITTEN.fullmatch(pairs["id"]):
        raise ValueError(f"'{pairs['id']}' is no id: use letters, digits, '.', '-' and '_', without spaces")
    return pairs


def read_heading(raw: str) -> Line:
    """The text of a heading, and its id.

    Raises:
        ValueError: in words, what is wrong with it.
    """
    pairs = _pairs(raw, without_code(raw), ("id",))
    return Line(re.sub(r"\s+#+\s*$", "", visible(raw)), pairs.get("id"))


def read_item(raw: str) -> Line:
    """What stands behind the box of an item.

    Raises:
        ValueError: in words, what is wrong with it.
    """
    masked = without_code(raw)
    pairs = _pairs(raw, masked, comment.KEYS)
    masked = _mask(masked, _COMMENT)
    text = visible(raw)
    if not text:
        raise ValueError("an item without text: write what is to be done behind the box")
    facts = _facts(pairs.get("fact", ""))
    blanks = _blanks(masked, pairs.get("unit"), facts)
    target, measured = _target(masked, pairs, judged=bool(blanks or facts))
    if target is not None and blanks:
        target, blanks = _one_unit(target, blanks)
    if pairs.get("tick", "person") != "person":
        raise ValueError(f"'tick: {pairs['tick']}': only 'tick: person' is known")
    unit = blanks[0].unit if blanks else target.unit if target else ""
    return Line(
        text,
        pairs.get("id"),
        blanks,
        unit,
        target,
        tuple(dict.fromkeys(name for name in facts if name)),
        measured,
        "tick" in pairs,
        _OPTIONAL.match(text) is not None,
    )


def read_filled(raw: str) -> Line:
    """The text and id of an item of an edited export, where values stand in the blanks."""
    pairs = _pairs(raw, without_code(raw), comment.KEYS)
    return Line(visible(raw), pairs.get("id"))


def _facts(text: str) -> list[str | None]:
    names = [name.strip() for name in text.split(",")] if text else []
    for name in names:
        if name != "-" and not _FACT.fullmatch(name):
            raise ValueError(f"'{name}' is no name of a fact: write it as in 'fact: dpo.kl_divergence'")
    return [None if name == "-" else name for name in names]


def _blanks(masked: str, unit: str | None, facts: list[str | None]) -> tuple[Blank, ...]:
    blanks: list[Blank] = []
    start = 0
    for found in _BLANK.finditer(masked):
        before, after = masked[start : found.start()], _UNIT_AFTER.match(masked, found.end())
        said = after or _UNIT_BEFORE.search(before)
        label = re.sub(r"[\s:=(\[]+$", "", _UNIT_BEFORE.sub("", before)).replace("\0", "").lstrip(" ()[],;/%")
        blanks.append(Blank(found.start(), found.end(), label, said[1] if said else ""))
        start = after.end() if after else found.end()
    if len(blanks) > MOST_BLANKS:
        raise ValueError(f"{len(blanks)} blanks on one line: {MOST_BLANKS} are read, make it several items")
    if blanks and len(facts) > len(blanks):
        raise ValueError(f"{len(facts)} facts for {len(blanks)} blank(s): name one for each, in order")
    if unit is not None:
        if not blanks:
            raise ValueError("'unit' without a blank: write '_____' where the value goes")
        if blanks[0].unit and blanks[0].unit != unit:
            raise ValueError(f"the blank's unit is '{blanks[0].unit}' in the text and '{unit}' in the comment")
        if not blanks[0].unit:
            blanks[0] = replace(blanks[0], unit=unit, bare=False)
    return tuple(
        replace(blank, fact=name) for blank, name in zip(blanks, [*facts, *[None] * len(blanks)], strict=False)
    )


def _target(masked: str, pairs: dict[str, str], *, judged: bool) -> tuple[Target | None, bool]:
    written = pairs.get("target")
    if written == "measured":
        if "fact" not in pairs:
            raise ValueError("'target: measured' without a fact: name the one that has to be measured")
        return None, True
    if written is not None:
        found = [_WRITTEN_TARGET.fullmatch(written)]
        if found[0] is None:
            raise ValueError(f"'target: {written}' is no target: write a comparison such as ≥0.15, or 'measured'")
    else:
        found = list(_TARGET.finditer(masked))
        if len(found) > 1 and judged:
            raise ValueError("several comparisons in one item: say which is meant with 'target:' in the comment")
    if len(found) != 1 or found[0] is None:
        if "tolerance" in pairs:
            raise ValueError("'tolerance' without a target: it says how near ≈ is")
        return None, False
    op, number, unit = _OPS[found[0][1]], Decimal(found[0][2].replace(",", "")), found[0][3] or ""
    tolerance = None
    if "tolerance" in pairs:
        if op != "≈":
            raise ValueError(f"'tolerance' says how near ≈ is, and the target is {op}{number}")
        if not re.fullmatch(NUMBER, pairs["tolerance"]):
            raise ValueError(f"'tolerance: {pairs['tolerance']}' is no number, such as 1e-4")
        tolerance = Decimal(pairs["tolerance"])
    elif op == "≈" and judged:
        raise ValueError("how near is ≈? Say it in the comment, such as 'tolerance: 1e-4'")
    return Target(op, number, unit, tolerance), False


def _one_unit(target: Target, blanks: tuple[Blank, ...]) -> tuple[Target, tuple[Blank, ...]]:
    """The blank and the target speak of the same thing: the unit of one is that of the other."""
    first = blanks[0]
    if not first.unit and target.unit:
        return target, (replace(first, unit=target.unit, bare=False), *blanks[1:])
    if not target.unit:
        return replace(target, unit=first.unit), blanks
    if target.unit != first.unit:
        raise ValueError(f"the blank's unit is '{first.unit}', that of the target '{target.unit}': make them one")
    return target, blanks
