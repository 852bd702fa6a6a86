"""Decontamination: which pairs hold items of the benchmarks that a model is measured on.

The method of Tulu 3 (Lambert et al. 2024, section 3.2, and open-instruct's `decontamination/search.py`): an item is
contaminated by a pair when more than half of its words are covered by 8-grams that stand in the pair's text too.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from core.data.benchmarks import Item, find_benchmarks, names, read_benchmarks
from core.data.jsonl import BadRow, read_lines, row_in
from core.data.messages import Text
from core.data.pairs import Pair, pair_of
from core.data.words import words
from core.errors import UserError
from core.store.facts import Fact
from core.text import printable

__all__ = ["Contamination", "Hit", "Matcher", "compared", "decontaminate", "decontamination_fact", "find_benchmarks"]

NGRAM = 8
COVERAGE = 0.5
# An item of fewer words than an n-gram, but of as many as this, is looked for anywhere in the text. One of still fewer
# ("Inflation") must be a whole prompt, response or line of a prompt.
PHRASE = 5
# Pairs whose text is kept to be shown.
EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class Hit:
    """An item of a benchmark in a pair. `coverage` is the share of the item's words that the pair covers."""

    line: int
    item: Item
    coverage: float
    number: int = 0  # of the pair, from 0, among those compared

    @property
    def benchmark(self) -> str:
        return str(self.item.benchmark)


@dataclass(frozen=True, slots=True)
class Contamination:
    """What was found in pairs. `examples` are the first contaminated pairs with their hits, the best one first."""

    pairs: int
    contaminated: int
    hits: tuple[Hit, ...]
    examples: tuple[tuple[Pair, tuple[Hit, ...]], ...]
    benchmarks: tuple[Path, ...]
    items: int  # of all benchmarks
    n: int
    coverage: float
    skipped: int = 0  # rows that are no pairs

    @property
    def score(self) -> float | None:
        """1 - contaminated pairs / pairs; None where nothing was compared."""
        if not self.pairs or not self.items:
            return None
        return 1 - self.contaminated / self.pairs


def decontaminate(
    pairs: Iterable[Pair],
    benchmarks: Sequence[Path],
    *,
    n: int = NGRAM,
    coverage: float = COVERAGE,
    progress: Callable[[int], None] | None = None,
) -> Contamination:
    """Compare pairs with benchmark files, in one pass and in memory that grows with the benchmarks and the hits only.

    Args:
        pairs: in the order of their file.
        benchmarks: files as `core.data.benchmarks.read_benchmark` reads them.
        n: words of an n-gram.
        coverage: an item is contaminated when a greater share of its words is covered.
        progress: told how many pairs were compared, now and then.

    Raises:
        UserError: a benchmark file cannot be read, or a parameter makes no sense.
    """
    gathered = _Gathered(benchmarks, n, coverage, EXAMPLES, progress)
    for pair in pairs:
        gathered.add(pair)
    return gathered.result()


def compared(
    path: Path,
    benchmarks: Sequence[Path],
    *,
    n: int = NGRAM,
    coverage: float = COVERAGE,
    clean: Callable[[bytes], None] | None = None,
    progress: Callable[[int], None] | None = None,
    examples: int = EXAMPLES,
) -> Contamination:
    """Compare a file of pairs. Rows that are no pairs are counted.

    Args:
        clean: is given the lines of the pairs that hold no item. Then every row must be a pair: none is lost unseen.

    Raises:
        UserError: as `decontaminate`; the file cannot be read; or a row is no pair though `clean` is given.
    """
    name = printable(str(path))
    gathered = _Gathered(benchmarks, n, coverage, examples, progress)
    for line in read_lines(path):
        row = row_in(line)
        pair = row if isinstance(row, BadRow) else pair_of(row)
        if isinstance(pair, BadRow):
            if clean is not None:
                raise UserError(
                    f"{name}:{pair.line}: {pair.reason}: write a clean copy first with"
                    f" 'dpotui data check {name} --fix OUT'"
                )
            gathered.skipped += 1
        elif not gathered.add(pair) and clean is not None:
            clean(line.raw)
    return gathered.result()


class _Gathered:
    """What was found so far."""

    def __init__(
        self,
        benchmarks: Sequence[Path],
        n: int,
        coverage: float,
        examples: int,
        progress: Callable[[int], None] | None,
    ) -> None:
        self._benchmarks, self._shown, self._progress = tuple(benchmarks), examples, progress
        self._matcher = Matcher(read_benchmarks(benchmarks, n), n=n, coverage=coverage)
        self._hits: list[Hit] = []
        self._examples: list[tuple[Pair, tuple[Hit, ...]]] = []
        self._count = self._contaminated = 0
        self.skipped = 0

    def add(self, pair: Pair) -> list[Hit]:
        found = self._matcher.hits(pair, self._count)
        self._count += 1
        if found:
            self._contaminated += 1
            self._hits += found
            if len(self._examples) < self._shown:
                self._examples.append((pair, tuple(found)))
        if self._progress is not None and self._count % 1000 == 0:
            self._progress(self._count)
        return found

    def result(self) -> Contamination:
        matcher = self._matcher
        return Contamination(
            self._count,
            self._contaminated,
            tuple(self._hits),
            tuple(self._examples),
            self._benchmarks,
            len(matcher.items),
            matcher.n,
            matcher.coverage,
            self.skipped,
        )


def findings(found: Contamination) -> Iterator[tuple[int, str, int | None]]:
    """One row for the index of each contaminated pair: its number, the item it holds most of, no cluster."""
    for number, hits in groupby(found.hits, key=lambda hit: hit.number):
        first, *others = hits
        more = f" and {len(others)} more" if others else ""
        yield number, f"{first.coverage:.1%} of {first.item.id}{more}", None


NO_BENCHMARKS = "no benchmark files: put those that you evaluate on into data/benchmarks, as JSONL"


def decontamination_fact(
    found: Contamination | None, paths: Sequence[Path], inputs: Mapping[str, str] | None = None
) -> Fact:
    """`data.decontamination`: the score, with the method and its parameters as its source.

    Args:
        found: what was found; None where there are no benchmark files, which makes it UNKNOWN.
        paths: the files of pairs.
        inputs: their hashes and those of the benchmark files, by their names in the workspace.
    """
    files = " and ".join(printable(path.name) for path in paths)
    if found is None or not found.benchmarks:
        return Fact("data.decontamination", None, source=f"{NO_BENCHMARKS}; {files}", inputs=dict(inputs or {}))
    benchmarks = ", ".join(names(found.benchmarks))
    return Fact(
        "data.decontamination",
        found.score,
        n=found.pairs,
        source=f"{found.contaminated} of {found.pairs} pairs of {files} hold one of {found.items} items of"
        f" {benchmarks}: {method(found.n, found.coverage)}",
        inputs=dict(inputs or {}),
    )


def score_text(score: float) -> str:
    """A score in so many digits that what is not quite 1 does not read so."""
    digits = 4
    while score < 1 and float(f"{score:.{digits}f}") == 1:
        digits += 1
    return f"{score:.{digits}f}" if score not in (0, 1) else f"{score:g}"


def method(n: int = NGRAM, coverage: float = COVERAGE) -> str:
    """How it is decided, in words."""
    return (
        f"more than {100 * coverage:g} % of its words are in {n}-grams that the prompt and a response have too;"
        f" items under {n} words by exact match"
    )


def texts(text: Text) -> list[str]:
    """A prompt or response as the texts it holds: of a chat, one of each message."""
    return [text] if isinstance(text, str) else [str(message["content"]) for message in text]


class Matcher:
    """The items of benchmarks, ready to be found in pairs.

    Only n-grams of the benchmarks are kept, as the hash of the numbers of their words; a pair without any of them is
    passed over without a line of Python for each of its words.
    """

    def __init__(self, items: Sequence[Item], *, n: int = NGRAM, coverage: float = COVERAGE) -> None:
        if not 2 <= n <= 100:
            raise UserError(f"--n {n}: an n-gram has 2 to 100 words")
        if not 0 <= coverage < 1:
            raise UserError(f"--coverage {coverage:g}: a share from 0 to less than 1 is wanted, such as 0.5")
        self.items, self.n, self.coverage = items, n, coverage
        self._vocabulary: dict[str, int] = {}
        self._words = array("I")  # of all items, one after the other
        self._starts = array("Q")
        self._ngrams: dict[int, int] = {}  # hash -> where it stands first in _words
        self._again: dict[int, list[int]] = {}  # ... and where else
        self._phrases: dict[int, list[int]] = {}  # hash of the first words of a short item -> items
        self._whole: dict[tuple[int, ...], list[int]] = {}  # very short items
        for number, item in enumerate(items):
            self._add(number, words(item.text))
        self._starts.append(len(self._words))

    def _add(self, number: int, spelled: list[str]) -> None:
        # 0 is any word that no benchmark has.
        known = [self._vocabulary.setdefault(word, len(self._vocabulary) + 1) for word in spelled]
        start = len(self._words)
        self._starts.append(start)
        self._words.extend(known)
        if not known:
            return
        if len(known) >= self.n:
            for place, key in enumerate(_hashes(known, self.n)):
                if key in self._ngrams:
                    self._again.setdefault(key, []).append(start + place)
                else:
                    self._ngrams[key] = start + place
        elif len(known) >= PHRASE:
            self._phrases.setdefault(hash(tuple(known[:PHRASE])), []).append(number)
        else:
            self._whole.setdefault(tuple(known), []).append(number)

    def hits(self, pair: Pair, number: int = 0) -> list[Hit]:
        """The items that a pair contaminates, the one it covers most first."""
        prompts, chosen, rejected = texts(pair.prompt), texts(pair.chosen), texts(pair.rejected)
        prompt = self._numbers(prompts)
        first, second = self._numbers(chosen), self._numbers(rejected)
        # What is trained on is the prompt with either response: an n-gram may begin in one and end in the other.
        sequences = (prompt + first, prompt + second)
        found: dict[int, float] = {}
        if not (
            self._ngrams.keys().isdisjoint(_hashes(sequences[0], self.n))
            and self._ngrams.keys().isdisjoint(_hashes(prompt[len(prompt) - self.n + 1 :] + second, self.n))
        ):
            for sequence in sequences:
                for item, share in self._covered(sequence):
                    if share > self.coverage:
                        found[item] = max(share, found.get(item, 0.0))
        if self._phrases:
            for sequence in sequences:
                if not self._phrases.keys().isdisjoint(_hashes(sequence, PHRASE)):
                    found.update((item, 1.0) for item in self._spoken(sequence))
        for part in (prompt, first, second):
            if len(part) < PHRASE:
                found.update((item, 1.0) for item in self._whole.get(tuple(part), ()))
        if self._whole:
            for text in prompts:
                if "\n" in text:
                    found.update((item, 1.0) for item in self._lines(text))
        if not found:
            return []
        ranked = sorted(found.items(), key=lambda entry: (-entry[1], entry[0]))
        return [Hit(pair.line, self.items[item], share, number) for item, share in ranked]

    def _numbers(self, parts: list[str]) -> list[int]:
        number = self._vocabulary.get
        if len(parts) == 1:
            return [number(word, 0) for word in words(parts[0])]
        return [number(word, 0) for part in parts for word in words(part)]

    def _covered(self, sequence: list[int]) -> Iterator[tuple[int, float]]:
        """Items with words that are covered by n-grams of the text, and their share."""
        common = self._ngrams.keys() & set(_hashes(sequence, self.n))
        if not common:
            return
        # Hashes can be alike where words are not.
        grams = {key: place for place, key in enumerate(_hashes(sequence, self.n)) if key in common}
        marks: dict[int, bytearray] = {}
        for key, place in grams.items():
            gram = array("I", sequence[place : place + self.n])
            for at in (self._ngrams[key], *self._again.get(key, ())):
                if self._words[at : at + self.n] != gram:
                    continue
                item = bisect_right(self._starts, at) - 1
                start = self._starts[item]
                if item not in marks:
                    marks[item] = bytearray(self._starts[item + 1] - start)
                marks[item][at - start : at - start + self.n] = b"\1" * self.n
        for item, marked in marks.items():
            yield item, marked.count(1) / len(marked)

    def _spoken(self, sequence: list[int]) -> Iterator[int]:
        """Short items whose words stand in the text in a row."""
        for place, key in enumerate(_hashes(sequence, PHRASE)):
            for item in self._phrases.get(key, ()):
                said = self._words[self._starts[item] : self._starts[item + 1]]
                if array("I", sequence[place : place + len(said)]) == said:
                    yield item

    def _lines(self, text: str) -> Iterator[int]:
        for line in text.splitlines():
            # A line of that many characters has more words than the longest of these items.
            if line and len(line) < 200:
                said = tuple(self._numbers([line]))
                if len(said) < PHRASE:
                    yield from self._whole.get(said, ())


def _hashes(numbers: list[int], n: int) -> Iterator[int]:
    """One number for each n-gram, in order."""
    return map(hash, zip(*(numbers[shift:] for shift in range(n)), strict=False))
