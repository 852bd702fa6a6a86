"""How an index of files of pairs is made: one streamed pass over the files, in memory that does not grow with them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

from core.data.artefacts import Texts
from core.data.comparing import Comparing
from core.data.gap import Scale, find_scale
from core.data.index import Index, Interrupted, Progress, open_index
from core.data.index_file import (
    FORMAT,
    SCHEMA,
    SUFFIX,
    IndexedFile,
    as_json,
    family,
    key_of,
    spool_path,
    write_findings,
)
from core.data.jsonl import BadRow, read_lines, row_in
from core.data.lines import Line
from core.data.looking import Looking, looked_for
from core.data.messages import text_hash, text_key
from core.data.pairs import Pair, pair_of
from core.data.tokenize import Limits
from core.errors import UserError
from core.text import printable
from core.workspace import private_folder

# Rows that are written to the database together.
BATCH = 1000
_BLOCK = 1 << 22
# Of a part: the process that makes it. It is another machine's, perhaps, so that its age counts too.
_LEFT = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}\.([0-9]{1,9})\.part.*")
_LEFT_SECONDS = 600
_INSERT = "INSERT INTO pairs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

_Values = tuple[Any, ...]


def build(
    paths: Sequence[Path],
    folder: Path,
    *,
    tokenizer: Path | None = None,
    limits: Limits | None = None,
    scale: Scale | None = None,
    chat: bool = False,
    rows_only: bool = False,
    progress: Progress | None = None,
    wants_stop: Callable[[], bool] | None = None,
) -> Index:
    """See `core.data.index.build`. With `rows_only` nothing is looked for: only what stands where is noted."""
    making = _Building(tuple(paths), progress or (lambda done, total, phase: None), wants_stop or (lambda: False))
    files = making.fingerprints()
    parameters = {
        "scale": scale,
        "tokenizer": None if tokenizer is None else [_tokenizer_sha256(tokenizer), chat],
        "limits": None if limits is None else [limits.prompt, limits.response],
        "rows only": rows_only,
    }
    name = f"{family(paths)}-{key_of(files, parameters)}"
    target = folder / f"{name}{SUFFIX}"
    found = open_index(target)
    if found is not None:
        if found.is_current():
            return found
        found.close()
    try:
        private_folder(folder)
        _remove_left(folder)
        part = folder / f"{name}.{os.getpid()}.part{SUFFIX}"
        making.make(part, files, parameters, tokenizer, limits, scale, chat=chat, rows_only=rows_only)
        for number in range(len(files)):
            if spool_path(part, number).exists():
                spool_path(part, number).replace(spool_path(target, number))
        part.replace(target)
    except (OSError, sqlite3.Error) as error:
        raise UserError(f"the index cannot be written in {printable(str(folder))}: {error}") from error
    finally:
        for left in folder.glob(f"{name}.{os.getpid()}.part*"):
            left.unlink(missing_ok=True)
    _forget_others(folder, target)
    made = open_index(target)
    assert made is not None, f"{target} was just written"
    return made


def _remove_left(folder: Path) -> None:
    """Remove what builders left that were killed: their process is no more, and nobody has written for a while."""
    for path in folder.glob("*.part*"):
        found = _LEFT.fullmatch(path.name)
        with contextlib.suppress(OSError):
            if found is None or _lives(int(found[1])) or time.time() - path.stat().st_mtime < _LEFT_SECONDS:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _forget_others(folder: Path, target: Path) -> None:
    """Indexes of the same files as they were before are of no use any more."""
    before, _, _ = target.name.partition("-")
    for path in folder.glob(f"{before}-*"):
        if not path.name.startswith(target.name.removesuffix(SUFFIX)) and ".part" not in path.name:
            path.unlink(missing_ok=True)


class _Building:
    def __init__(self, paths: tuple[Path, ...], progress: Progress, wants_stop: Callable[[], bool]) -> None:
        self.paths = paths
        self.tell = progress
        self.wants_stop = wants_stop

    def check_stop(self) -> None:
        if self.wants_stop():
            raise Interrupted

    def fingerprints(self) -> list[IndexedFile]:
        """The files as they are now.

        Raises:
            UserError: one cannot be read as a file of rows at all.
        """
        for path in self.paths:
            next(iter(read_lines(path)), None)  # says in words what is wrong with it
        stats = [path.stat() for path in self.paths]
        total, done, found = sum(stat.st_size for stat in stats), 0, []
        for path, stat in zip(self.paths, stats, strict=True):
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
                    done += len(block)
                    self.tell(done, total, f"hashing {printable(path.name)}")
                    self.check_stop()
            found.append(IndexedFile(path.absolute(), stat.st_size, stat.st_ctime_ns, digest.hexdigest()))
        return found

    def make(
        self,
        target: Path,
        files: list[IndexedFile],
        parameters: dict[str, Any],
        tokenizer: Path | None,
        limits: Limits | None,
        scale: Scale | None,
        *,
        chat: bool,
        rows_only: bool,
    ) -> None:
        """Write the whole index to `target`."""
        os.close(os.open(target, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600))
        with (
            contextlib.closing(sqlite3.connect(target, isolation_level=None)) as db,
            tempfile.TemporaryDirectory(prefix=f"{target.name.removesuffix(SUFFIX)}-", dir=target.parent) as space,
        ):
            # Nothing reads it before it is whole, and what is cut short is thrown away.
            db.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -32000;")
            db.executescript(SCHEMA)
            db.execute("BEGIN")
            looking = None if rows_only else Looking(Path(space), tokenizer, chat=chat, leaks=len(files) > 1)
            with contextlib.closing(looking) if looking is not None else contextlib.nullcontext():
                reading = _Reading(self, db, target, looking)
                for number, file in enumerate(files):
                    files[number] = reading.file(number, file)
                for file in files:
                    stat = file.path.stat()
                    if (stat.st_size, stat.st_ctime_ns) != (file.size, file.changed_ns):
                        raise UserError(f"{printable(str(file.path))} changed while it was read: check it again")
                scales = _normalize(db, reading.score_fields, scale)
                self.tell(0, 1, "sorting")
                db.execute("CREATE INDEX pairs_by_text ON pairs (prompt, chosen, rejected)")
                if looking is not None:
                    comparing = Comparing(db, target, files, self.tell, self.check_stop)
                    comparing.texts()
                    comparing.lengths(limits)
                    comparing.near_duplicates(looking)
                db.execute("CREATE INDEX findings_by_pair ON findings (pair)")
            meta = {
                "format": FORMAT,
                "parameters": parameters,
                "files": [as_json(file) for file in files],
                "pairs": reading.pairs,
                "bad": sum(reading.bad.values()),
                "score_fields": reading.score_fields,
                "scales": scales,
                "looked_for": [] if looking is None else looked_for(tokenizer, limits, files),
            }
            db.executemany("INSERT INTO meta VALUES (?, ?)", [(key, json.dumps(value)) for key, value in meta.items()])
            db.execute("COMMIT")
            self.check_stop()


class _Reading:
    """The pass over the files."""

    def __init__(self, building: _Building, db: sqlite3.Connection, target: Path, looking: Looking | None) -> None:
        self._building = building
        self._looking = looking
        self._db = db
        self._target = target
        self.pairs = 0
        self.bad: Counter[str] = Counter()
        self.score_fields: list[str] = []
        self._total = 0

    def file(self, number: int, file: IndexedFile) -> IndexedFile:
        """Read one file; returns it with what is known of it then."""
        first = self.pairs
        batch: list[tuple[int, Pair]] = []
        bad: list[_Values] = []
        spool: BinaryIO | None = None
        name, rows, at = printable(file.path.name), 0, 0
        with contextlib.ExitStack() as stack:
            for line in read_lines(file.path):
                rows += 1
                at = max(at, line.offset + line.length)
                found = row_in(line)
                row = found if isinstance(found, BadRow) else pair_of(found)
                if isinstance(row, BadRow):
                    self.bad[row.kind] += 1
                    bad.append((number, row.line, row.offset, row.length, row.kind, row.field, row.reason))
                else:
                    if line.offset < 0:  # compressed or a table: its rows are kept where they can be found
                        if spool is None:
                            spool = stack.enter_context(_create(spool_path(self._target, number)))
                        row = _spool(spool, line, row)
                    batch.append((number, row))
                    self.pairs += 1
                if len(batch) + len(bad) >= BATCH:
                    self._write(batch, bad)
                    self._building.tell(min(at, file.size), file.size, f"reading {name}, {rows:,} rows")
                    self._building.check_stop()
            self._write(batch, bad)
        self._building.tell(file.size, file.size, f"reading {name}, {rows:,} rows")
        return replace(file, pairs=self.pairs - first, spooled=spool is not None)

    def _write(self, batch: list[tuple[int, Pair]], bad: list[_Values]) -> None:
        """Measure pairs and write them and the bad rows to the index."""
        first = self.pairs - len(batch)
        pairs = [pair for _, pair in batch]
        texts = [Texts(text_key(pair.prompt), text_key(pair.chosen), text_key(pair.rejected)) for pair in pairs]
        tokens = self._looking.tokens(pairs) if self._looking is not None else [(None, None, None)] * len(pairs)
        self._db.executemany(
            _INSERT,
            [
                (first + at, number, pair.line, pair.offset, pair.length, *_hashes(texts[at]), *map(len, texts[at]),
                 *tokens[at], pair.chosen_score, pair.rejected_score, *self._gap(pair))
                for at, (number, pair) in enumerate(batch)
            ],
        )  # fmt: skip
        if self._looking is not None:
            write_findings(self._db, self._looking.look(first, texts))
        self._db.executemany(
            "INSERT INTO bad_rows (file, line, offset, length, kind, field, reason) VALUES (?, ?, ?, ?, ?, ?, ?)", bad
        )
        batch.clear()
        bad.clear()

    def _gap(self, pair: Pair) -> tuple[int | None, float | None]:
        """The number of the score fields, and the gap on their own scale."""
        if pair.chosen_score is None or pair.rejected_score is None:
            return None, None
        if pair.score_fields not in self.score_fields:
            self.score_fields.append(pair.score_fields)
        # Scores are decimal numbers: 0.95 - 0.8 is 0.15, which in binary it is not.
        gap = float(Decimal(repr(pair.chosen_score)) - Decimal(repr(pair.rejected_score)))
        return self.score_fields.index(pair.score_fields), gap


def _hashes(texts: Texts) -> tuple[int, int, int]:
    """Of the prompt, and of both responses to that prompt."""
    prompt = text_hash(texts.prompt)
    return prompt, text_hash(f"{texts.prompt}\x1d{texts.chosen}"), text_hash(f"{texts.prompt}\x1d{texts.rejected}")


def _tokenizer_sha256(folder: Path) -> str:
    """Of what decides how a model's folder cuts text into tokens.

    Raises:
        UserError: it has no tokenizer.
    """
    if not (folder / "tokenizer.json").is_file():
        raise UserError(f"{printable(str(folder))} has no tokenizer.json: name a model's folder")
    digest = hashlib.sha256()
    for file in sorted({*folder.glob("tokenizer*.json"), *folder.glob("chat_template*")}):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _create(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb")


def _spool(file: BinaryIO, line: Line, pair: Pair) -> Pair:
    """Keep the line as JSONL; returns its pair with its place there."""
    raw, offset = line.raw, file.tell()
    file.write(raw + b"\n")
    return replace(pair, offset=offset, length=len(raw))


def _normalize(db: sqlite3.Connection, names: list[str], declared: Scale | None) -> dict[str, Scale | None]:
    """Bring the gaps to scores on 0 to 1; returns the scale of each pair of score fields, None where none is known."""
    scales: dict[str, Scale | None] = {}
    for number, name in enumerate(names):
        low, high = db.execute(
            "SELECT min(min(chosen_score, rejected_score)), max(max(chosen_score, rejected_score)) FROM pairs"
            " WHERE score_fields = ?",
            [number],
        ).fetchone()
        scale = scales[name] = declared or find_scale(low, high)
        width = None if scale is None else Decimal(repr(scale[1])) - Decimal(repr(scale[0]))
        if width == 1:
            continue
        if width is None:
            db.execute("UPDATE pairs SET gap = NULL WHERE score_fields = ?", [number])
        else:
            db.create_function("on_unit", 1, lambda gap, width=width: float(Decimal(repr(gap)) / width))
            db.execute("UPDATE pairs SET gap = on_unit(gap) WHERE score_fields = ?", [number])
    return scales
