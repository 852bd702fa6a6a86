"""The file in a run's folder that holds what was generated so far: a line for each prompt that a model finished.

Lines are appended and brought to the disk; a process that dies loses at most the prompts it was at. A line that it
was writing when it died is cut off.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.appended import Appended
from core.errors import UserError
from core.text import printable

NAME = "responses.jsonl"


@dataclass(frozen=True, slots=True)
class Answer:
    """One response that is kept."""

    index: int
    recipe: str
    text: str
    finish: str
    tokens: int


class Part:
    """What is known of each (pass, prompt), by number. Texts stay in the file.

    Attributes:
        counts: sums over all lines: responses, tokens, length, empty, repeated, redrawn, left_out.
        settled: of each pass, how it decodes, so that a resumed run does it as it began.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offsets: dict[tuple[int, int], int] = {}
        self._done: Counter[int] = Counter()
        self.counts: Counter[str] = Counter()
        self.settled: dict[int, dict[str, Any]] = {}
        self._lines = Appended(path, self._read)

    def close(self) -> None:
        self._lines.close()

    def __contains__(self, key: tuple[int, int]) -> bool:
        return key in self._offsets

    def __len__(self) -> int:
        return len(self._offsets)

    def done(self, number: int) -> int:
        """How many prompts the pass has finished."""
        return self._done[number]

    def settle(self, number: int, how: dict[str, Any]) -> None:
        self.settled[number] = how
        self._append([{"pass": number, "how": how}])

    def add(self, number: int, finished: list[tuple[int, list[Answer], dict[str, int]]]) -> None:
        """Keep prompts that a pass has finished: their numbers, responses and counts. On disk when it returns."""
        lines = []
        for prompt, answers, counts in finished:
            assert (number, prompt) not in self._offsets, "a prompt is finished once"
            lines.append(
                {"pass": number, "prompt": prompt, "responses": [asdict(a) for a in answers], "counts": counts}
            )
        offsets = self._append(lines)
        for (prompt, answers, counts), offset in zip(finished, offsets, strict=True):
            self._know(number, prompt, offset, len(answers), counts)

    def answers(self, number: int, prompt: int) -> list[Answer]:
        """The responses of a prompt that the pass has finished."""
        with self._path.open("rb") as file:
            file.seek(self._offsets[number, prompt])
            return [Answer(**fields) for fields in json.loads(file.readline())["responses"]]

    def _append(self, lines: list[dict[str, Any]]) -> list[int]:
        return self._lines.append([json.dumps(line, ensure_ascii=False) for line in lines])

    def _read(self, number: int, offset: int, line: bytes) -> None:
        try:
            fields = json.loads(line)
            if "how" in fields:
                self.settled[fields["pass"]] = fields["how"]
            else:
                counts = {str(name): int(count) for name, count in fields["counts"].items()}
                self._know(fields["pass"], fields["prompt"], offset, len(fields["responses"]), counts)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{printable(str(self._path))}:{number}: not as this program writes it: remove the line to have its"
                " prompt answered again, or start a new run"
            ) from error

    def _know(self, number: int, prompt: int, offset: int, responses: int, counts: dict[str, int]) -> None:
        self._offsets[number, prompt] = offset
        self._done[number] += 1
        self.counts.update(counts)
        self.counts["responses"] += responses
