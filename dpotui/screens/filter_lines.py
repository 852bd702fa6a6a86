"""How filtering is drawn: the rule, what it changes, where the cut falls among all margins, and the pairs that go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.geometry import Size

from core.data.filtering import Effect, Example, Ranking, Rule, examples
from core.data.held_out import Known
from core.data.messages import text_key
from core.errors import UserError
from core.text import one_line
from dpotui.commands.data.filter import notes
from dpotui.roles import Span
from dpotui.widgets.lines import Lines

_BARS = " ▁▂▃▄▅▆▇█"
_DETAIL = 3  # lines of the pair under the cursor
_LARGE = 40  # from so many rows on there is room for larger bars, and whole notes


@dataclass(frozen=True, slots=True)
class Looked:
    """What is looked at."""

    title: str
    ranking: Ranking
    rule: Rule
    gone: int
    cursor: int
    known: Known


class FilterLines(Lines):
    def __init__(self) -> None:
        super().__init__()
        self._title, self._words = "", ""
        self._looked: Looked | None = None
        self._made: list[Sequence[Span]] = []

    def tell(self, title: str, words: str) -> None:
        """There is nothing to look at yet, and why."""
        self._title, self._words, self._looked = title, words, None
        self.show()

    def look(self, looked: Looked) -> None:
        self._looked = looked
        self.show()

    def prepare(self, size: Size) -> None:
        if self._looked is None:
            head: Sequence[Span] = [(" filter ", "here"), (f" {self._title}", "title")]
            self._made = [head, *(self.message(self._words, y, size.width) for y in range(size.height - 1))]
        else:
            self._made = drawn(self._looked, size.width, size.height)

    def row(self, y: int, width: int) -> Sequence[Span]:
        return self._made[y] if y < len(self._made) else []


def drawn(looked: Looked, width: int, height: int) -> list[Sequence[Span]]:
    """All rows."""
    ranking, gone = looked.ranking, looked.gone
    large = height >= _LARGE
    made: list[Sequence[Span]] = [[(" filter ", "here"), (f" {one_line(looked.title, width - 9)}", "title")]]
    made += [[(" " + one_line(note, width - 1), "dim")] for note in notes(looked.known)]
    movable = looked.rule.kind != "keep_agreeing"
    made.append(
        [(" r ", "key"), (looked.rule.words, "title"), ("   ← → move it, [ ] further" if movable else "", "dim")]
    )
    made += _changes(ranking.effect(0), ranking.effect(gone), width)
    made += _bars(ranking, gone, min(width - 8, 120), 8 if large else 4)
    if not gone:
        return [*made, [], [("  nothing goes under this rule", "empty")]]
    room = height - len(made) - _DETAIL - 1
    made.append(
        [(f" goes, the worst first: {looked.cursor + 1} of {gone}", "title"), ("   d ", "key"), ("in Data", "dim")]
    )
    made += _pairs(looked, width, max(1, room))
    return made


def _changes(before: Effect, after: Effect, width: int) -> list[Sequence[Span]]:
    share = f" ({(before.pairs - after.pairs) / before.pairs:.1%})" if before.pairs else ""
    first: list[Span] = [
        (" goes ", "dim"), (f"{before.pairs - after.pairs}", "title"), (f" of {before.pairs} pairs{share}", ""),
        ("   prompts ", "dim"), (f"{before.prompts} → {after.prompts}", ""),
    ]  # fmt: skip
    second: list[Span] = []
    for name, one, other, form in (
        ("gap", before.gap, after.gap, ".3f"),
        ("model agrees", before.agreeing, after.agreeing, ".1%"),
        ("longer chosen", before.longer, after.longer, ".1%"),
    ):
        if one is not None:
            told = "-" if other is None else format(other, form)
            second += [("   " if second else " ", ""), (f"{name} ", "dim"), (f"{one:{form}} → {told}", "")]
    return [first, second]


def _bars(ranking: Ranking, gone: int, columns: int, rows: int) -> list[Sequence[Span]]:
    """Margins as columns; those that go are painted and shaded, and the cut is marked below."""
    found = ranking.histogram(columns)
    most = max(count for _, _, count in found)
    levels = [-(-count * rows * 8 // most) for _, _, count in found]
    going = [ranking.gone_in(low, high, gone) for low, high, _ in found]
    # The last column holds its upper edge too.
    going[-1] = gone - sum(going[:-1])
    cut = sum(1 for count in going if count)
    last = max((x for x, count in enumerate(going) if count), default=-1) if cut else -1
    made: list[Sequence[Span]] = []
    for y in range(rows):
        under = (rows - 1 - y) * 8
        cells = [_BARS[min(8, max(0, level - under))] for level in levels]
        gone_part = "".join("░" if cell == "█" else cell for cell in cells[: last + 1])
        label = f"{most:>5} ┤" if not y else "      │"
        made.append([(label, "axis"), (gone_part, "bad"), ("".join(cells[last + 1 :]), "line2")])
    low, high = f"{ranking.margins[0]:.2f}", f"{ranking.margins[-1]:.2f}"
    axis = list(low.ljust(columns))
    axis[columns - len(high) :] = high
    mark = f"▲ {ranking.margins[gone]:.2f}" if 0 < gone < len(ranking) else ""
    at = min(last + 1, columns - len(mark)) if mark else 0
    if mark and at > len(low) and at + len(mark) < columns - len(high):
        axis[at : at + len(mark)] = mark
        return [*made, [("       " + "".join(axis), "axis")]]
    made.append([("       " + "".join(axis), "axis")])
    if mark:
        made.append([("       " + " " * at + mark, "limit")])
    return made


def _pairs(looked: Looked, width: int, room: int) -> list[Sequence[Span]]:
    """A page of the pairs that go around the cursor, and the one under it in three lines."""
    first = max(0, min(looked.cursor - room // 2, looked.gone - room))
    try:
        shown = examples(looked.ranking, first, min(room, looked.gone - first), scan=False)
    except UserError as error:
        return [[(" " + one_line(str(error), width - 1), "bad")]]
    if not shown:
        # Rows of a file that is packed: where they stand is all there is to say without reading it through.
        ranking = looked.ranking
        ranks = range(first, min(first + room, looked.gone))
        return [
            [(f"  line {ranking.scored.lines[ranking.order[rank]]:<8}{ranking.margins[rank]:8.3f}",
              "cursor" if rank == looked.cursor else "")]
            for rank in ranks
        ]  # fmt: skip
    made: list[Sequence[Span]] = []
    under: Example | None = None
    for number, one in enumerate(shown):
        here = first + number == looked.cursor
        under = one if here else under
        words = one_line(text_key(one.pair.prompt), max(10, width - 26))
        row = f" {'›' if here else ' '} {one.line:>8} {one.margin:9.3f}  {words}"
        made.append([(row, "cursor" if here else "")])
    made += [[] for _ in range(room - len(made))]
    if under is not None:
        for name, text in (
            ("prompt", under.pair.prompt),
            ("chosen", under.pair.chosen),
            ("rejected", under.pair.rejected),
        ):
            made.append([(f" {name:<9}", "dim"), (one_line(text_key(text), width - 11), "")])
    return made
