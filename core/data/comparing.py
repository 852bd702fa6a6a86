"""What is found by comparing pairs with each other: duplicates, conflicts, circles, near duplicates, leaks."""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from core.data.index import Progress
from core.data.index_file import IndexedFile, spool_path, write_findings
from core.data.jsonl import BadRow, row_of
from core.data.looking import Looking
from core.data.messages import text_key
from core.data.near_duplicates import pair_text
from core.data.pairs import Pair, pair_of
from core.data.tokenize import Limits
from core.errors import UserError
from core.text import printable

# Preferences of one prompt that lie on circles and are followed one by one; of more, all are said to.
_FOLLOWED = 2000


class Comparing:
    """Works on an index that is being made: its pairs are there, sorted by their texts."""

    def __init__(
        self,
        db: sqlite3.Connection,
        target: Path,
        files: Sequence[IndexedFile],
        tell: Progress,
        check_stop: Callable[[], None],
    ) -> None:
        self._db = db
        self._target = target
        self._files = files
        self._tell = tell
        self._check_stop = check_stop
        db.create_function("place", 2, self._place, deterministic=True)

    def _place(self, file: int, line: int) -> str:
        return f"line {line}" if len(self._files) == 1 else f"{printable(self._files[file].path.name)}:{line}"

    def _line(self, pair: int) -> str:
        return self._place(*self._db.execute("SELECT file, line FROM pairs WHERE id = ?", [pair]).fetchone())

    def texts(self) -> None:
        """Duplicates, conflicts, inverted scores and circles."""
        self._tell(0, 1, "comparing texts")
        self._db.execute(
            "INSERT INTO findings SELECT 'duplicate', again.id, 'the same as ' || place(pairs.file, pairs.line), first"
            " FROM (SELECT id, min(id) OVER (PARTITION BY prompt, chosen, rejected) AS first FROM pairs) AS again"
            " JOIN pairs ON pairs.id = first WHERE first < again.id"
        )
        self._check_stop()
        self._db.execute(
            "INSERT INTO findings SELECT 'conflict', mine, 'the other way round in ' || place(pairs.file, pairs.line),"
            " min(mine, other) FROM (SELECT one.id AS mine, (SELECT min(two.id) FROM pairs AS two WHERE"
            " two.prompt = one.prompt AND two.chosen = one.rejected AND two.rejected = one.chosen) AS other"
            " FROM pairs AS one) JOIN pairs ON pairs.id = other"
        )
        self._check_stop()
        self._db.execute(
            "INSERT INTO findings SELECT 'inverted', id, format('%g for chosen, %g for rejected', chosen_score,"
            " rejected_score), NULL FROM pairs WHERE rejected_score > chosen_score"
        )
        write_findings(self._db, self._circles())

    def _circles(self) -> Iterator[tuple[str, int, str, int | None]]:
        rows = self._db.execute("SELECT prompt, chosen, rejected, id FROM pairs ORDER BY prompt")
        for _, group in groupby(rows, key=lambda row: row[0]):
            edges: dict[tuple[int, int], list[int]] = defaultdict(list)
            for _, chosen, rejected, pair in group:
                edges[chosen, rejected].append(pair)
            if len(edges) < 3:
                continue
            for circle in circles(edges):
                cluster = min(pair for edge in circle for pair in edges[edge])
                for edge in circle:
                    for pair in edges[edge]:
                        yield "transitivity", pair, f"{len({a for a, _ in circle})} responses in a circle", cluster
        self._check_stop()

    def lengths(self, limits: Limits | None) -> None:
        """What the limits cut."""
        if limits is None:
            return
        self._db.execute(
            "INSERT INTO findings SELECT 'truncated_prompt', id, prompt_tokens || ' tokens, limit ' || ?1, NULL"
            " FROM pairs WHERE prompt_tokens > ?1",
            [limits.prompt],
        )
        self._db.execute(
            "INSERT INTO findings SELECT 'truncated_response', id, max(chosen_tokens, rejected_tokens)"
            " || ' tokens, limit ' || ?1, NULL FROM pairs WHERE max(chosen_tokens, rejected_tokens) > ?1",
            [limits.response],
        )

    def near_duplicates(self, looking: Looking) -> None:
        """Near duplicates of whole pairs, and prompts that stand in more than one file."""
        handles: list[int] = []
        try:
            for number, file in enumerate(self._files):
                path = spool_path(self._target, number) if file.spooled else file.path
                handles.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))

            def read(number: int) -> Pair:
                file, line, offset, length = self._db.execute(
                    "SELECT file, line, offset, length FROM pairs WHERE id = ?", [number]
                ).fetchone()
                row = row_of(line, os.pread(handles[file], length, offset), offset)
                pair = row if isinstance(row, BadRow) else pair_of(row)
                if isinstance(pair, BadRow):
                    raise UserError(
                        f"{printable(str(self._files[file].path))} changed while it was read: check it again"
                    )
                return pair

            self._check_stop()
            clusters = looking.pairs.clusters(lambda number: pair_text(read(number)), progress=self._watch)
            write_findings(self._db, self._near(clusters))
            if looking.prompts is not None:
                leaks = looking.prompts.clusters(lambda number: text_key(read(number).prompt), progress=self._watch)
                write_findings(self._db, self._leaks(leaks))
        finally:
            for handle in handles:
                os.close(handle)

    def _watch(self, done: int, total: int, phase: str) -> None:
        self._tell(done, total, phase)
        self._check_stop()

    def _near(self, clusters: dict[int, int]) -> Iterator[tuple[str, int, str, int | None]]:
        for pair, first in sorted(clusters.items()):
            if pair == first or self._is_duplicate(pair):
                continue
            yield "near_duplicate", pair, f"with {self._line(first)}, or with others that lead to it", first

    def _is_duplicate(self, pair: int) -> bool:
        found = self._db.execute("SELECT 1 FROM findings WHERE kind = 'duplicate' AND pair = ?", [pair]).fetchone()
        return found is not None

    def _leaks(self, clusters: dict[int, int]) -> Iterator[tuple[str, int, str, int | None]]:
        files: dict[int, dict[int, int]] = defaultdict(dict)  # of a cluster, the first pair in each file
        where: dict[int, tuple[int, int]] = {}
        for pair, cluster in sorted(clusters.items()):
            where[pair] = self._db.execute("SELECT file, prompt FROM pairs WHERE id = ?", [pair]).fetchone()
            files[cluster].setdefault(where[pair][0], pair)
        for pair, cluster in sorted(clusters.items()):
            others = [other for file, other in files[cluster].items() if file != where[pair][0]]
            if not others:
                continue
            word = "the same" if where[others[0]][1] == where[pair][1] else "nearly the same"
            yield "leak", pair, f"{word} prompt as {self._line(others[0])}", cluster


def circles(edges: dict[tuple[int, int], list[int]]) -> Iterator[list[tuple[int, int]]]:
    """Preferences that lie on a circle of three responses or more, those that hang together at a time.

    Two responses that are preferred to each other are a conflict, and no circle.
    """
    after: dict[int, set[int]] = defaultdict(set)
    for one, other in edges:
        after[one].add(other)
    for component in _components(after):
        if len(component) < 3:
            continue
        inside = [edge for edge in edges if edge[0] in component and edge[1] in component]
        circle = [
            (one, other)
            for one, other in inside
            if len(inside) > _FOLLOWED or _leads_back(after, component, other, one)
        ]
        if circle:
            yield circle


def _leads_back(after: dict[int, set[int]], component: set[int], start: int, end: int) -> bool:
    """Whether a way leads from one response to another over a third."""
    seen, waiting = {start}, [start]
    while waiting:
        at = waiting.pop()
        for following in after.get(at, ()):
            if following == end:
                if at != start:
                    return True
            elif following in component and following not in seen:
                seen.add(following)
                waiting.append(following)
    return False


def _components(after: dict[int, set[int]]) -> list[set[int]]:
    """Strongly connected components (Tarjan 1972, without recursion)."""
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    open_nodes: set[int] = set()
    found: list[set[int]] = []
    for root in list(after):
        if root in order:
            continue
        work: list[tuple[int, Iterator[int]]] = []

        def enter(node: int, work: list[tuple[int, Iterator[int]]] = work) -> None:
            order[node] = low[node] = len(order)
            stack.append(node)
            open_nodes.add(node)
            work.append((node, iter(after.get(node, ()))))

        enter(root)
        while work:
            node, rest = work[-1]
            child = next(rest, None)
            if child is not None:
                if child not in order:
                    enter(child)
                elif child in open_nodes:
                    low[node] = min(low[node], order[child])
                continue
            work.pop()
            if work:
                low[work[-1][0]] = min(low[work[-1][0]], low[node])
            if low[node] == order[node]:
                component: set[int] = set()
                while node not in component:
                    member = stack.pop()
                    open_nodes.discard(member)
                    component.add(member)
                found.append(component)
    return found
