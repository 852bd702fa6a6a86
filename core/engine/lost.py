"""Runs whose engine is gone without a word: marked, and told where memory was the likely cause. Loads no MLX.

The system ends a process that takes too much of it (SIGKILL), and MLX on a CPU ends with a SIGSEGV where it is given
none: neither raises anything.
"""

from __future__ import annotations

from core.engine.reasons import less_memory
from core.store import Database, metrics, runs
from core.store.runs import Run

# From this share of the machine's memory on, a process that is gone was likely ended for it.
_NEAR = 0.8


def mark_lost(db: Database) -> list[str]:
    """Call when no engine lives: what still reads as running is interrupted from now on. Returns the ids."""
    lost = runs.mark_interrupted(db)
    for run_id in lost:
        run = runs.get(db, run_id)
        signs = memory_signs(db, run)
        if signs:
            error = f"the engine was gone without a word, likely for lack of memory: {signs}"
            runs.update(db, run_id, error=error, hint=f"{less_memory(run)}; or r resumes it as it is")
    return lost


def memory_signs(db: Database, run: Run) -> str:
    """What speaks for memory as the cause, in words; empty where nothing does."""
    import psutil  # not needed to open the terminal

    there = psutil.virtual_memory().total
    peaks = metrics.tail(db, run.id, "peak_memory_gb", 1)
    taken = peaks[-1].value * 1e9 if peaks else 0.0
    if taken >= _NEAR * there:
        return f"{run.id} took {taken / 1e9:.1f} of {there / 1e9:.1f} GB"
    sql = (
        "SELECT text FROM log WHERE run = ? AND (text LIKE 'memory: TOO LARGE%' OR text LIKE 'memory: TIGHT%') LIMIT 1"
    )
    forecast = db.execute(sql, [run.id]).fetchone()
    # The sentence names amounts, and goes on with what they are made of.
    return f"the forecast was {forecast[0].removeprefix('memory: ').split(': ', 2)[0]}" if forecast else ""
