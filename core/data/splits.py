"""Training, validation and test files of one file of pairs, without a prompt or a near-duplicate of it on two sides."""

from __future__ import annotations

import os
import tempfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from core.data.apportion import closest
from core.data.jsonl import BadRow, read_lines, row_in
from core.data.leaks import Leaks, shared_prompts
from core.data.manifest import refuse_target, stamp, writing
from core.data.messages import text_hash, text_key
from core.data.near_duplicates import THRESHOLD, near_duplicates
from core.data.outputs import refuse_overwriting
from core.data.pairs import pair_of
from core.errors import UserError
from core.store.facts import Fact
from core.text import printable

TRAIN, VALIDATION, TEST = "train", "validation", "test"

# How often groups are joined that MinHash took for different and the search of what was written did not.
_ROUNDS = 20
# Looks at two prompts while grouping: a minute's work. What is missed then is found in what was written.
_LOOKS = 1_000_000_000

Progress = Callable[[int, int | None, str], None]


@dataclass(frozen=True, slots=True)
class Part:
    """One of the files: what was asked for, and what it holds."""

    name: str  # train, validation, test
    path: Path
    wanted: float  # share of the pairs
    pairs: int = 0
    prompts: int = 0
    groups: int = 0
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Split:
    """What was written. A group is all pairs of one prompt and of its near-duplicates."""

    source: Path
    parts: tuple[Part, ...]
    pairs: int
    prompts: int
    groups: int
    largest: int  # pairs of the largest group
    seed: int
    threshold: float
    leaks: Leaks

    def share(self, part: Part) -> float:
        return part.pairs / self.pairs

    @property
    def notes(self) -> list[str]:
        """What keeps the parts from what was asked for."""
        said = []
        for part in self.parts:
            if self.largest > max(1, round(part.wanted * self.pairs)):
                said.append(
                    f"the largest group has {self.largest} pairs, more than the {part.wanted:.1%} asked for"
                    f" {part.name}: it stays whole"
                )
        return said


def split(
    source: Path,
    targets: Sequence[tuple[str, Path, float]],
    *,
    seed: int,
    threshold: float = THRESHOLD,
    progress: Progress | None = None,
) -> Split:
    """Deal the pairs of a file into parts and write them, each row byte for byte, in the order of the file.

    All pairs of one prompt, and of prompts that are near-duplicates of each other, go to one part. The parts come as
    near to their shares of the pairs as whole groups allow. The same file, shares and seed give the same bytes. What
    was written is searched for prompts on two sides before it gets its name.

    Args:
        source: file of pairs.
        targets: name, path and share of each part, the training part first; the shares add up to 1.
        seed: which groups go where.
        threshold: Jaccard from which two prompts are near-duplicates.
        progress: told how many rows or prompts of how many are done, and at what.

    Raises:
        UserError: a row is no pair; there are too few groups; a file cannot be read or written. Then nothing is
            written.
    """
    paths = [path for _, path, _ in targets]
    refuse_overwriting(paths, [source])
    for path in paths:
        refuse_target(path, [source])
    before = stamp(source)
    with tempfile.TemporaryDirectory(prefix="split-") as space:
        prompts = _Prompts(Path(space))
        try:
            _read(source, prompts, progress)
            group_of = _groups(prompts, threshold, Path(space), progress)
            for _ in range(_ROUNDS):
                if stamp(source) != before:
                    raise UserError(f"{printable(str(source))} changed while it was read: run it again")
                try:
                    return _write(source, targets, prompts, group_of, seed, threshold, progress)
                except _Leaked as found:
                    # MinHash misses a few in a thousand.
                    _join(group_of, ((prompts.index[one], prompts.index[other]) for one, other in found.leaks.pairs))
        finally:
            prompts.close()
    raise UserError("prompts on two sides were found again and again: choose a higher --threshold")


class _Prompts:
    """The different prompts of a file, on disk, and which of them each pair has."""

    def __init__(self, folder: Path) -> None:
        self.index: dict[int, int] = {}  # hash -> number
        self.of_pair = array("L")
        self._starts = array("Q", [0])
        self._file = (folder / "prompts").open("w+b")

    def add(self, text: str) -> None:
        number = self.index.setdefault(text_hash(text), len(self.index))
        if number == len(self._starts) - 1:
            # Half a character stays one: it only has to be the same again.
            content = text.encode("utf-8", "surrogatepass")
            self._file.write(content)
            self._starts.append(self._starts[-1] + len(content))
        self.of_pair.append(number)

    def __len__(self) -> int:
        return len(self.index)

    def read(self, number: int) -> str:
        begin, end = self._starts[number], self._starts[number + 1]
        return os.pread(self._file.fileno(), end - begin, begin).decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        self._file.flush()
        return map(self.read, range(len(self)))

    def close(self) -> None:
        self._file.close()


def _read(source: Path, prompts: _Prompts, progress: Progress | None) -> None:
    name = printable(str(source))
    for count, line in enumerate(read_lines(source), 1):
        row = row_in(line)
        pair = row if isinstance(row, BadRow) else pair_of(row)
        if isinstance(pair, BadRow):
            raise UserError(
                f"{name}:{pair.line}: {pair.reason}: write a clean copy first with 'dpotui data check {name} --fix OUT'"
            )
        prompts.add(text_key(pair.prompt))
        if progress is not None and count % 1000 == 0:
            progress(count, None, "pairs read")


def _groups(prompts: _Prompts, threshold: float, space: Path, progress: Progress | None) -> list[int]:
    """For each prompt the first one of its group."""
    texts = iter(prompts)
    clusters = near_duplicates(
        len(prompts), prompts.read, texts, threshold=threshold, folder=space, budget=_LOOKS, progress=progress
    )
    return [clusters.get(number, number) for number in range(len(prompts))]


def _join(group_of: list[int], alike: Iterable[tuple[int, int]]) -> None:
    """Make one group of the groups of each two of these."""

    def root(number: int) -> int:
        while (above := group_of[number]) != number:
            group_of[number] = group_of[above]
            number = above
        return number

    for one, other in alike:
        first, second = sorted((root(one), root(other)))
        group_of[second] = first
    for number in range(len(group_of)):
        group_of[number] = root(number)


class _Leaked(Exception):
    def __init__(self, leaks: Leaks) -> None:
        super().__init__()
        self.leaks = leaks


def _write(
    source: Path,
    targets: Sequence[tuple[str, Path, float]],
    prompts: _Prompts,
    group_of: list[int],
    seed: int,
    threshold: float,
    progress: Progress | None,
) -> Split:
    """Deal, write, and search what was written.

    Raises:
        _Leaked: something stands on two sides; nothing was written.
    """
    sizes = Counter(group_of[number] for number in prompts.of_pair)
    dealt = _deal(source, sizes, targets, len(prompts.of_pair), seed)
    part_of = bytearray(dealt[group] for group in group_of)
    with ExitStack() as stack:
        writers = [
            stack.enter_context(
                writing(
                    path,
                    command="data split",
                    parameters={
                        "part": name,
                        "seed": seed,
                        "shares": {name: share for name, _, share in targets},
                        "threshold": threshold,
                    },
                    parents=[source],
                )
            )
            for name, path, _ in targets
        ]
        for number, line in zip(prompts.of_pair, read_lines(source), strict=True):
            writers[part_of[number]].line(line.raw)
        for writer in writers:
            writer.flush()
        leaks = shared_prompts(
            [writer.path for writer in writers],
            threshold=threshold,
            progress=None if progress is None else lambda done: progress(done, len(prompts), "prompts compared"),
        )
        if leaks.exact or leaks.near:
            raise _Leaked(leaks)
        groups = Counter(dealt.values())
        parts = []
        for number, ((name, path, share), writer) in enumerate(zip(targets, writers, strict=True)):
            part = Part(name, path, share, writer.rows, leaks.prompts[number], groups[number], writer.sha256)
            parts.append(part)
            writer.counts |= {
                "pairs": part.pairs,
                "prompts": part.prompts,
                "groups": part.groups,
                "prompts_shared": leaks.exact,
                "near_duplicate_prompts_shared": leaks.near,
            }
            writer.notes["leaks"] = leaks.search
    return Split(
        source,
        tuple(parts),
        len(prompts.of_pair),
        len(prompts),
        len(sizes),
        max(sizes.values()),
        seed,
        threshold,
        leaks,
    )


def _deal(
    source: Path, sizes: Counter[int], targets: Sequence[tuple[str, Path, float]], pairs: int, seed: int
) -> dict[int, int]:
    """The part of each group, by numbers. The first part takes what the others leave."""
    if len(sizes) < len(targets):
        raise UserError(
            f"{printable(str(source))}: {len(sizes)} {'group' if len(sizes) == 1 else 'groups'} of prompts that are not"
            f" near-duplicates of each other cannot be dealt into {len(targets)} files: more different prompts are"
            " wanted, or a higher --threshold"
        )
    # Drawn for each group by itself: where two are joined, the others stay where they were.
    order = sorted(sizes, key=lambda group: blake2b(f"{seed}:{group}".encode(), digest_size=8).digest())
    dealt: dict[int, int] = dict.fromkeys(order, 0)
    # The smallest part first: it has the least to choose from.
    held_out = sorted(range(1, len(targets)), key=lambda number: targets[number][2])
    for left, number in zip(range(len(held_out), 0, -1), held_out, strict=True):
        wanted = max(1, round(targets[number][2] * pairs))
        # One group stays for each of the parts that come after, and one for the training part.
        for group in closest(sizes, order, wanted, leave=left):
            dealt[group] = number
        order = [group for group in order if not dealt[group]]
    return dealt


def split_facts(done: Split, inputs: Mapping[str, str]) -> list[Fact]:
    """`data.validation_share` and `data.leaks` of what was written.

    Args:
        inputs: the hashes of the written files, by their names in the workspace.
    """
    names = ", ".join(printable(part.path.name) for part in done.parts)
    found = []
    for part in done.parts:
        if part.name == VALIDATION:
            source = f"{part.pairs} of {done.pairs} pairs are in {printable(part.path.name)}; seed {done.seed}"
            found.append(
                Fact("data.validation_share", done.share(part), n=done.pairs, source=source, inputs=dict(inputs))
            )
    leaks = done.leaks
    source = (
        f"{leaks.exact} prompts and {leaks.near} near-duplicates (Jaccard {done.threshold:g}) of {names} stand in two"
        f" of them, after they were written; {leaks.search}"
    )
    value = float(leaks.exact + leaks.near) if leaks.complete else None
    found.append(Fact("data.leaks", value, "prompts", n=done.prompts, source=source, inputs=dict(inputs)))
    return found
