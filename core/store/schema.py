"""The tables of runs.db and how an older file becomes a newer one."""

from __future__ import annotations

import re

from sqlite_utils import Database, Migrations

migrations = Migrations("dpotui")

# Every table is STRICT. Times are Unix seconds (UTC). JSON stands in TEXT columns.
_FIRST = """
CREATE TABLE runs (
    id          TEXT PRIMARY KEY,
    kind        TEXT NOT NULL CHECK (kind IN (
        'sft', 'generate', 'judge', 'data_check', 'init_check', 'reward', 'dpo', 'evaluate', 'sweep')),
    name        TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN (
        'queued', 'running', 'paused', 'stopping', 'finished', 'stopped', 'failed', 'interrupted')),
    parent      TEXT REFERENCES runs(id),
    config      TEXT NOT NULL,
    config_path TEXT,
    seed        INTEGER NOT NULL,
    inputs      TEXT NOT NULL DEFAULT '{}',
    output_dir  TEXT,
    step        INTEGER NOT NULL DEFAULT 0,
    steps       INTEGER NOT NULL DEFAULT 0,
    phase       TEXT NOT NULL DEFAULT '',
    engine      INTEGER REFERENCES engines(id),
    created     REAL NOT NULL,
    started     REAL,
    ended       REAL,
    error       TEXT,
    hint        TEXT
) STRICT;
CREATE INDEX runs_by_state ON runs(state);

CREATE TABLE series (
    id   INTEGER PRIMARY KEY,
    run  TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    UNIQUE (run, name)
) STRICT;

-- One row a step of a series; the primary key is the clustered index that serves tail reads and plots.
-- A value that is not a finite number is NULL, so that it can neither be drawn nor averaged by mistake.
CREATE TABLE metrics (
    series INTEGER NOT NULL REFERENCES series(id) ON DELETE CASCADE,
    step   INTEGER NOT NULL,
    value  REAL,
    time   REAL NOT NULL,
    PRIMARY KEY (series, step)
) STRICT, WITHOUT ROWID;

-- Every 512 steps of a series in one row, kept by the writer, so that a plot of millions of points reads thousands.
CREATE TABLE metric_bins (
    series INTEGER NOT NULL REFERENCES series(id) ON DELETE CASCADE,
    bin    INTEGER NOT NULL,
    low    REAL,
    high   REAL,
    total  REAL,
    finite INTEGER NOT NULL,
    PRIMARY KEY (series, bin)
) STRICT, WITHOUT ROWID;

CREATE TABLE log (
    id    INTEGER PRIMARY KEY,
    run   TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    time  REAL NOT NULL,
    level TEXT NOT NULL CHECK (level IN ('debug','info','warning','error')),
    text  TEXT NOT NULL
) STRICT;
CREATE INDEX log_by_run ON log(run, id);

CREATE TABLE facts (
    id     INTEGER PRIMARY KEY,
    name   TEXT NOT NULL,
    value  REAL,
    text   TEXT,
    unit   TEXT NOT NULL DEFAULT '',
    run    TEXT REFERENCES runs(id),
    time   REAL NOT NULL,
    low    REAL,
    high   REAL,
    n      INTEGER,
    source TEXT NOT NULL DEFAULT '',
    inputs TEXT NOT NULL DEFAULT '{}'
) STRICT;
CREATE INDEX facts_by_name ON facts(name, id);
CREATE INDEX facts_by_run ON facts(run);

CREATE TABLE verdicts (
    id        INTEGER PRIMARY KEY,
    stage     INTEGER NOT NULL,
    gate      TEXT NOT NULL,
    verdict   TEXT NOT NULL CHECK (verdict IN ('PASS','FAIL','UNKNOWN','STALE')),
    value     REAL,
    op        TEXT NOT NULL,
    threshold REAL NOT NULL,
    low       REAL,
    high      REAL,
    n         INTEGER,
    fact      INTEGER REFERENCES facts(id),
    run       TEXT REFERENCES runs(id),
    reason    TEXT NOT NULL DEFAULT '',
    time      REAL NOT NULL
) STRICT;
CREATE INDEX verdicts_by_gate ON verdicts(gate, id);

-- What a person said of an item. What a fact says is derived when read, never stored here.
CREATE TABLE ticks (
    item     TEXT PRIMARY KEY,
    ticked   INTEGER CHECK (ticked IN (0, 1)),
    value    TEXT,
    note     TEXT,
    evidence TEXT NOT NULL DEFAULT '[]',
    who      TEXT NOT NULL,
    time     REAL NOT NULL
) STRICT;

CREATE TABLE tick_history (
    id     INTEGER PRIMARY KEY,
    item   TEXT NOT NULL,
    action TEXT NOT NULL,
    before TEXT NOT NULL,
    after  TEXT NOT NULL,
    who    TEXT NOT NULL,
    time   REAL NOT NULL,
    undone INTEGER NOT NULL DEFAULT 0 CHECK (undone IN (0, 1))
) STRICT;
CREATE INDEX tick_history_by_item ON tick_history(item, id);

CREATE TABLE artifacts (
    id     INTEGER PRIMARY KEY,
    run    TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    kind   TEXT NOT NULL,
    step   INTEGER,
    path   TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    bytes  INTEGER NOT NULL,
    time   REAL NOT NULL,
    UNIQUE (run, path)
) STRICT;

CREATE TABLE commands (
    id     INTEGER PRIMARY KEY,
    run    TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    verb   TEXT NOT NULL CHECK (verb IN ('pause','resume','stop','checkpoint')),
    who    TEXT NOT NULL,
    time   REAL NOT NULL,
    obeyed REAL,
    answer TEXT
) STRICT;
CREATE INDEX commands_open ON commands(run, id) WHERE obeyed IS NULL;

CREATE TABLE engines (
    id        INTEGER PRIMARY KEY,
    pid       INTEGER NOT NULL,
    host      TEXT NOT NULL,
    hosting   TEXT NOT NULL CHECK (hosting IN ('detached','in-process')),
    version   TEXT NOT NULL,
    started   REAL NOT NULL,
    heartbeat REAL NOT NULL,
    ended     REAL
) STRICT;

CREATE TABLE notes (
    id      INTEGER PRIMARY KEY,
    subject TEXT NOT NULL,
    text    TEXT NOT NULL,
    who     TEXT NOT NULL,
    time    REAL NOT NULL
) STRICT;
CREATE INDEX notes_by_subject ON notes(subject, id);

CREATE TABLE votes (
    id     INTEGER PRIMARY KEY,
    pair   TEXT NOT NULL,
    choice TEXT NOT NULL,
    who    TEXT NOT NULL,
    run    TEXT REFERENCES runs(id),
    time   REAL NOT NULL
) STRICT;
CREATE INDEX votes_by_pair ON votes(pair, id);

-- Hashes of files as they were last read, so that a look at staleness is a stat and not a gigabyte.
CREATE TABLE files (
    path       TEXT PRIMARY KEY,
    size       INTEGER NOT NULL,
    changed_ns INTEGER NOT NULL,
    sha256     TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""


def _execute(db: Database, script: str) -> None:
    """Run DDL statement by statement: executescript would commit the migration's own transaction."""
    for statement in script.split(";\n"):
        if statement.strip():
            db.execute(statement)


@migrations()  # type: ignore[untyped-decorator]
def first_tables(db: Database) -> None:
    _execute(db, _FIRST)


# Batch sizes tried on this machine, one row a calibration and one a size. `key` is the hash of what the answer
# depends on (chip, model, adapter, lengths, versions), which `subject` spells out as JSON.
_CALIBRATIONS = """
CREATE TABLE calibrations (
    id           INTEGER PRIMARY KEY,
    run          TEXT REFERENCES runs(id),
    kind         TEXT NOT NULL,
    chip         TEXT NOT NULL,
    key          TEXT NOT NULL,
    subject      TEXT NOT NULL,
    limit_bytes  INTEGER NOT NULL,
    limit_source TEXT NOT NULL,
    chosen       INTEGER,
    reason       TEXT NOT NULL DEFAULT '',
    started      REAL NOT NULL,
    ended        REAL
) STRICT;
CREATE INDEX calibrations_by_key ON calibrations(key, id);

CREATE TABLE calibration_sizes (
    calibration INTEGER NOT NULL REFERENCES calibrations(id) ON DELETE CASCADE,
    size        INTEGER NOT NULL,
    verdict     TEXT NOT NULL CHECK (verdict IN ('FITS', 'TOO LARGE')),
    rate        REAL,
    peak_bytes  INTEGER,
    seconds     REAL NOT NULL,
    note        TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (calibration, size)
) STRICT, WITHOUT ROWID;
"""


@migrations()  # type: ignore[untyped-decorator]
def calibrations(db: Database) -> None:
    """Batch sizes by measurement, and the kind of run that measures them.

    A CHECK cannot be changed in place: `runs` is made anew. Foreign keys are off while migrations are applied, or
    dropping the old table would take every log line and metric with it.
    """
    assert db.execute("PRAGMA foreign_keys").fetchone() == (0,)
    (old,) = db.execute("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'runs'").fetchone()
    new = old.replace("'sweep')", "'sweep', 'calibrate')").replace("CREATE TABLE runs", "CREATE TABLE runs_new", 1)
    _execute(db, f"{new};\nINSERT INTO runs_new SELECT * FROM runs;\nDROP TABLE runs;\n")  # noqa: S608
    _execute(db, "ALTER TABLE runs_new RENAME TO runs;\nCREATE INDEX runs_by_state ON runs(state);\n")
    _execute(db, _CALIBRATIONS)


# A standing vote is one of a person on a comparison: casting anew or taking back marks the older one undone.
# `key` is `core.data.comparisons.comparison_key`; `first` is not the first of the file but of the two responses in the
# order of their texts, and `side` is where that one stood on the screen.
_VOTES = """
CREATE TABLE votes_new (
    id         INTEGER PRIMARY KEY,
    key        TEXT NOT NULL,
    choice     TEXT NOT NULL CHECK (choice IN ('first', 'second', 'tie', 'reject', 'skip')),
    side       TEXT CHECK (side IN ('A', 'B')),
    confidence INTEGER CHECK (confidence BETWEEN 1 AND 5),
    note       TEXT NOT NULL DEFAULT '',
    who        TEXT NOT NULL,
    file       TEXT NOT NULL DEFAULT '',
    line       INTEGER,
    seed       INTEGER,
    run        TEXT REFERENCES runs(id),
    time       REAL NOT NULL,
    undone     INTEGER NOT NULL DEFAULT 0 CHECK (undone IN (0, 1))
) STRICT;

-- What an older file calls otherwise is kept in the note, of the newest vote of a person on a pair.
INSERT INTO votes_new (id, key, choice, note, who, run, time, undone)
SELECT id, pair,
    CASE WHEN choice IN ('first', 'second', 'tie', 'reject', 'skip') THEN choice ELSE 'skip' END,
    CASE WHEN choice IN ('first', 'second', 'tie', 'reject', 'skip') THEN '' ELSE 'voted: ' || choice END,
    who, run, time,
    EXISTS (SELECT 1 FROM votes AS later WHERE later.pair = old.pair AND later.who = old.who AND later.id > old.id)
FROM votes AS old;
DROP TABLE votes;
ALTER TABLE votes_new RENAME TO votes;
CREATE UNIQUE INDEX votes_standing ON votes(key, who) WHERE undone = 0;
CREATE INDEX votes_by_file ON votes(file, who, id);
"""


@migrations()  # type: ignore[untyped-decorator]
def blind_votes(db: Database) -> None:
    """Votes of people on two responses, with the side on which each stood. The votes of an older file are kept."""
    _execute(db, _VOTES)


# What a run measured on a benchmark. `conditions` is JSON: what must be the same for two results to be compared.
# Ratings: a person's mark of one answer by one criterion, NULL where it was passed over; a mark given anew or taken
# back leaves the older one undone. Decisions: a person's word on what becomes of the model.
_EVALUATION = """
CREATE TABLE benchmarks (
    id         INTEGER PRIMARY KEY,
    run        TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    subject    TEXT NOT NULL CHECK (subject IN ('baseline', 'final')),
    name       TEXT NOT NULL,
    metric     TEXT NOT NULL,
    value      REAL NOT NULL,
    stderr     REAL,
    low        REAL,
    high       REAL,
    n          INTEGER NOT NULL,
    chance     REAL,
    conditions TEXT NOT NULL,
    items      TEXT NOT NULL,
    model      TEXT NOT NULL,
    seconds    REAL NOT NULL,
    time       REAL NOT NULL
) STRICT;
CREATE INDEX benchmarks_by_name ON benchmarks(subject, name, id);

CREATE TABLE ratings (
    id        INTEGER PRIMARY KEY,
    key       TEXT NOT NULL,
    criterion TEXT NOT NULL,
    mark      INTEGER CHECK (mark BETWEEN 0 AND 10),
    note      TEXT NOT NULL DEFAULT '',
    who       TEXT NOT NULL,
    file      TEXT NOT NULL,
    line      INTEGER NOT NULL,
    run       TEXT REFERENCES runs(id),
    time      REAL NOT NULL,
    undone    INTEGER NOT NULL DEFAULT 0 CHECK (undone IN (0, 1))
) STRICT;
CREATE UNIQUE INDEX ratings_standing ON ratings(file, key, criterion, who) WHERE undone = 0;

CREATE TABLE decisions (
    id       INTEGER PRIMARY KEY,
    choice   TEXT NOT NULL CHECK (choice IN ('deploy', 'iterate', 'reject')),
    note     TEXT NOT NULL DEFAULT '',
    who      TEXT NOT NULL,
    criteria TEXT NOT NULL,
    run      TEXT REFERENCES runs(id),
    time     REAL NOT NULL
) STRICT;
"""


@migrations()  # type: ignore[untyped-decorator]
def evaluation(db: Database) -> None:
    """Benchmark results, marks by people, and decisions."""
    _execute(db, _EVALUATION)


# Who asked for a run, and the machine and versions of the engine that executes it ('{}': not recorded).
_PROVENANCE = """
ALTER TABLE runs ADD COLUMN who TEXT NOT NULL DEFAULT '';
ALTER TABLE engines ADD COLUMN environment TEXT NOT NULL DEFAULT '{}';
"""


@migrations()  # type: ignore[untyped-decorator]
def provenance(db: Database) -> None:
    """Who asked for a run, and what it ran on."""
    _execute(db, _PROVENANCE)


# Runs that a person put in order: words to find them by (a JSON list), and when they were put out of sight.
# Commands gain a verb: a CHECK cannot be changed in place, so the table is made anew; nothing refers to it.
# Samples: what a run wrote to the same prompts at each of its evaluations; the reference once, at its first.
# Gradient norms: one row a module of a step at which a person asked for them.
_WATCHING = """
ALTER TABLE runs ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';
ALTER TABLE runs ADD COLUMN archived REAL;
CREATE INDEX runs_by_created ON runs(created, id);

CREATE TABLE commands_new (
    id     INTEGER PRIMARY KEY,
    run    TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    verb   TEXT NOT NULL CHECK (verb IN ('pause','resume','stop','checkpoint','gradients')),
    who    TEXT NOT NULL,
    time   REAL NOT NULL,
    obeyed REAL,
    answer TEXT
) STRICT;
INSERT INTO commands_new SELECT * FROM commands;
DROP TABLE commands;
ALTER TABLE commands_new RENAME TO commands;
CREATE INDEX commands_open ON commands(run, id) WHERE obeyed IS NULL;

CREATE TABLE samples (
    run    TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    step   INTEGER NOT NULL,
    model  TEXT NOT NULL CHECK (model IN ('policy', 'reference')),
    line   INTEGER NOT NULL,
    prompt TEXT NOT NULL,
    text   TEXT NOT NULL,
    finish TEXT NOT NULL,
    tokens INTEGER NOT NULL,
    time   REAL NOT NULL,
    PRIMARY KEY (run, step, model, line)
) STRICT, WITHOUT ROWID;

CREATE TABLE gradient_norms (
    run    TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    step   INTEGER NOT NULL,
    module TEXT NOT NULL,
    place  INTEGER NOT NULL,
    norm   REAL,
    time   REAL NOT NULL,
    PRIMARY KEY (run, step, module)
) STRICT, WITHOUT ROWID;
"""


@migrations()  # type: ignore[untyped-decorator]
def watching(db: Database) -> None:
    """What a person watches and puts in order: tags and archive of runs, samples on the way, gradients by module."""
    _execute(db, _WATCHING)


# What a person changed of a run's name, tags and archive: before and after are JSON. Indexes for lists of thousands
# of runs: by time without those put out of sight, by kind, and the newest fact of a name without its row; and for
# lineage by what was written.
_ORDER = """
CREATE TABLE run_changes (
    id     INTEGER PRIMARY KEY,
    run    TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    field  TEXT NOT NULL CHECK (field IN ('name', 'tags', 'archived')),
    before TEXT NOT NULL,
    after  TEXT NOT NULL,
    who    TEXT NOT NULL,
    time   REAL NOT NULL,
    undone INTEGER NOT NULL DEFAULT 0 CHECK (undone IN (0, 1))
) STRICT;
CREATE INDEX run_changes_by_run ON run_changes(run, id);

CREATE INDEX runs_shown ON runs(created, id, archived) WHERE archived IS NULL;
CREATE INDEX runs_by_kind ON runs(kind, created);
CREATE INDEX runs_by_parent ON runs(parent);
CREATE INDEX runs_by_output ON runs(output_dir);
DROP INDEX facts_by_run;
CREATE INDEX facts_by_run ON facts(run, name, id, value);
CREATE INDEX artifacts_by_path ON artifacts(path);
"""


@migrations()  # type: ignore[untyped-decorator]
def order(db: Database) -> None:
    """Runs that a person puts in order, and lists of thousands of them."""
    _execute(db, _ORDER)


# Runs that other runs are made of: a trial of a sweep, the steps of an iteration. A part is executed by the run that it
# is part of; `part` is its name there. Of a sweep's trials facts are kept aside: they are the trial's, and say nothing
# of what the workspace has until one of them is promoted.
# A person's order of the queue, and the time before which a run is not started.
_PARTS = """
ALTER TABLE runs ADD COLUMN part_of TEXT REFERENCES runs(id);
ALTER TABLE runs ADD COLUMN part TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN place REAL;
ALTER TABLE runs ADD COLUMN not_before REAL;
CREATE UNIQUE INDEX runs_by_part ON runs(part_of, part) WHERE part_of IS NOT NULL;

ALTER TABLE facts ADD COLUMN aside INTEGER NOT NULL DEFAULT 0 CHECK (aside IN (0, 1));
CREATE INDEX facts_newest ON facts(name, id) WHERE aside = 0;
"""


@migrations()  # type: ignore[untyped-decorator]
def parts(db: Database) -> None:
    """Iterations, exports, runs made of runs, and a queue in a person's order."""
    assert db.execute("PRAGMA foreign_keys").fetchone() == (0,)
    indexes = [sql for (sql,) in db.execute(_INDEXES_OF_RUNS)]
    (old,) = db.execute("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'runs'").fetchone()
    new = old.replace("'calibrate')", "'calibrate', 'iterate', 'export')")
    new = re.sub(r'^CREATE TABLE "?runs"?', "CREATE TABLE runs_new", new)
    _execute(db, f"{new};\nINSERT INTO runs_new SELECT * FROM runs;\nDROP TABLE runs;\n")  # noqa: S608
    _execute(db, ";\n".join(["ALTER TABLE runs_new RENAME TO runs", *indexes, _PARTS]))


_INDEXES_OF_RUNS = (
    "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'runs' AND sql IS NOT NULL ORDER BY rowid"
)


# A round of an iterate run: what it started from and came to (lists are JSON); and what was decided after it.
_ITERATIONS = """
CREATE TABLE iterations (
    run        TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    number     INTEGER NOT NULL,
    policy     TEXT NOT NULL,
    reference  TEXT NOT NULL,
    train_file TEXT NOT NULL,
    model      TEXT,
    dpo        TEXT REFERENCES runs(id),
    evaluation TEXT REFERENCES runs(id),
    score      REAL,
    low        REAL,
    high       REAL,
    n          INTEGER,
    unit       TEXT NOT NULL,
    why        TEXT NOT NULL,
    broken     TEXT NOT NULL,
    weaknesses TEXT NOT NULL,
    time       REAL NOT NULL,
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE iteration_decisions (
    id       INTEGER PRIMARY KEY,
    run      TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    number   INTEGER NOT NULL,
    choice   TEXT NOT NULL CHECK (choice IN ('continue', 'stop', 'rollback')),
    target   INTEGER NOT NULL,
    goes_on  INTEGER NOT NULL CHECK (goes_on IN (0, 1)),
    reason   TEXT NOT NULL,
    who      TEXT NOT NULL,
    settings TEXT NOT NULL,
    time     REAL NOT NULL,
    done     REAL
) STRICT;
CREATE INDEX iteration_decisions_by_run ON iteration_decisions(run, number, id);
"""


@migrations()  # type: ignore[untyped-decorator]
def iterations(db: Database) -> None:
    """Rounds of iterate runs, and what was decided after each."""
    _execute(db, _ITERATIONS)


# Trials of a sweep. `drawn` is what Optuna drew and `parameters` what that comes to, `keys` what the trial's
# configuration has otherwise than the sweep's; `evaluations` are [step, value] of the metric on the way. `losses`
# counts how often its engine was gone. Importances are as of so many trials.
_TRIALS = """
CREATE TABLE trials (
    sweep       TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    number      INTEGER NOT NULL,
    state       TEXT NOT NULL CHECK (state IN (
        'running', 'complete', 'pruned', 'failed', 'out of memory', 'refused', 'stopped')),
    drawn       TEXT NOT NULL,
    parameters  TEXT NOT NULL,
    keys        TEXT NOT NULL,
    run         TEXT REFERENCES runs(id),
    value       REAL,
    kl          REAL,
    reason      TEXT NOT NULL DEFAULT '',
    evaluations TEXT NOT NULL DEFAULT '[]',
    losses      INTEGER NOT NULL DEFAULT 0,
    began       REAL NOT NULL,
    ended       REAL,
    PRIMARY KEY (sweep, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE importances (
    sweep     TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    parameter TEXT NOT NULL,
    share     REAL NOT NULL,
    trials    INTEGER NOT NULL,
    PRIMARY KEY (sweep, parameter)
) STRICT, WITHOUT ROWID;
"""


@migrations()  # type: ignore[untyped-decorator]
def trials(db: Database) -> None:
    """Trials of sweeps, and how much each of their parameters matters."""
    _execute(db, _TRIALS)


_ENVIRONMENTS = """
CREATE TABLE environments (
    run    TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    place  INTEGER NOT NULL,
    name   TEXT NOT NULL,
    key    TEXT NOT NULL,
    value  TEXT,
    by     TEXT NOT NULL CHECK (by IN ('configuration', 'shell', 'default')),
    effect TEXT CHECK (effect IN ('effective', 'without effect', 'not yet', 'not told')),
    why    TEXT NOT NULL,
    PRIMARY KEY (run, place)
) STRICT, WITHOUT ROWID;
"""


@migrations()  # type: ignore[untyped-decorator]
def environments(db: Database) -> None:
    """Variables and limits of MLX that a run computed under."""
    _execute(db, _ENVIRONMENTS)


# How far a run was told to a tracker: `position` (JSON) is the high-water mark, behind which nothing is sent again.
_TRACKED = """
CREATE TABLE tracked (
    run      TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    tracker  TEXT NOT NULL,
    state    TEXT NOT NULL CHECK (state IN ('starting', 'sending', 'waiting', 'done', 'failed', 'missing')),
    options  TEXT NOT NULL,
    key      TEXT NOT NULL,
    place    TEXT NOT NULL,
    position TEXT NOT NULL,
    error    TEXT NOT NULL,
    time     REAL NOT NULL,
    PRIMARY KEY (run, tracker)
) STRICT, WITHOUT ROWID;
"""


@migrations()  # type: ignore[untyped-decorator]
def tracked(db: Database) -> None:
    """Trackers that runs are told to."""
    _execute(db, _TRACKED)


# Of a run that several ranks train: what each did from report to report. Seconds of its own work, and of waiting.
_RANKS = """
CREATE TABLE ranks (
    run       TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    step      INTEGER NOT NULL,
    rank      INTEGER NOT NULL,
    host      TEXT NOT NULL,
    share     REAL NOT NULL,
    pairs     REAL NOT NULL,
    computing REAL NOT NULL,
    waiting   REAL NOT NULL,
    time      REAL NOT NULL,
    PRIMARY KEY (run, step, rank)
) STRICT, WITHOUT ROWID;
"""


@migrations()  # type: ignore[untyped-decorator]
def ranks(db: Database) -> None:
    """The parts of ranks in runs that several machines train."""
    _execute(db, _RANKS)


# A person's word that a run is to be started although the memory for it is not free.
_FORCED = "ALTER TABLE runs ADD COLUMN forced INTEGER NOT NULL DEFAULT 0 CHECK (forced IN (0, 1))"


@migrations()  # type: ignore[untyped-decorator]
def forced(db: Database) -> None:
    """Runs that start whatever memory there is."""
    _execute(db, _FORCED)
