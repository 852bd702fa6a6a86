"""Why a run failed, in words, and what to try: from the exception that ended it.

Nothing here loads MLX: what it raises is a RuntimeError, known by its text.
"""

from __future__ import annotations

import errno
import re
import sqlite3
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from core.errors import LostNumbers, UserError
from core.store.runs import Run

# Of a foreign sentence so much is quoted.
_QUOTED = 200


class Reason(NamedTuple):
    """One line each; the hint is what to try."""

    error: str
    hint: str | None


class _Rule(NamedTuple):
    """What a kind of failure looks like, and what is said of it."""

    matches: Callable[[Exception, str], bool]  # the exception and its text, lower case
    error: Callable[[Exception], str]
    hint: Callable[[Run], str]


def reason_of(error: Exception, run: Run) -> Reason:
    """What a person is told of the exception that ended a run."""
    if isinstance(error, LostNumbers):
        return Reason(str(error), _smaller_steps(run))
    if isinstance(error, UserError) and not isinstance(error, sqlite3.Error):
        return Reason(str(error), error.hint)  # without one, it says the mend itself
    text = str(error).lower()
    for rule in _RULES:
        if rule.matches(error, text):
            return Reason(rule.error(error), rule.hint(run))
    return Reason(f"{_quoted(error, name=True)}, {_where(error)}", _DEFECT)


_DEFECT = (
    "this is a defect of dpotui, or of code that came with the model: the log has the traceback to report;"
    " r tries again from the last checkpoint"
)


def _quoted(error: Exception, *, name: bool = False) -> str:
    """The exception's own words on one line."""
    said = " ".join(str(error).split())[:_QUOTED]
    return f"{type(error).__name__}: {said}" if (name or not said) and said else said or type(error).__name__


def _where(error: Exception) -> str:
    """The innermost place in words: file from its package on, line and function."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "at a place that is not known"
    frame = frames[-1]
    parts = Path(frame.filename).parts
    for anchor in ("site-packages", "core", "dpotui"):
        if anchor in parts:
            at = len(parts) - 1 - parts[::-1].index(anchor)
            parts = parts[at + (anchor == "site-packages") :]
            break
    else:
        parts = parts[-2:]
    return f"in {'/'.join(parts)} line {frame.lineno} ({frame.name})"


def _names(*words: str) -> Callable[[Exception, str], bool]:
    """Whether one of these stands in the text."""
    return lambda error, text: any(word in text for word in words)


def _kinds(*kinds: type[Exception]) -> Callable[[Exception, str], bool]:
    return lambda error, text: isinstance(error, kinds)


def _codes(*codes: int) -> Callable[[Exception, str], bool]:
    return lambda error, text: isinstance(error, OSError) and error.errno in codes


def _from(*packages: str) -> Callable[[Exception, str], bool]:
    """Whether a package raised its own kind of exception."""
    return lambda error, text: type(error).__module__.split(".")[0] in packages


def _either(*tests: Callable[[Exception, str], bool]) -> Callable[[Exception, str], bool]:
    return lambda error, text: any(test(error, text) for test in tests)


def _named(error: Exception) -> str:
    """The file that an error speaks of."""
    if isinstance(error, OSError) and error.filename is not None:
        return str(error.filename)
    found = re.search(r"(/\S+?)[\s.,'\"]*$|(/\S+)", str(error))
    return (found[1] or found[2]) if found else "a file"


def _setting(run: Run, section: str, key: str) -> Any:
    values = run.config.get(section)
    return values.get(key) if isinstance(values, dict) else None


def less_memory(run: Run) -> str:
    """What makes this run take less memory, with the numbers of its own configuration."""
    found = []
    size, steps = (_setting(run, "training", key) for key in ("batch_size", "gradient_accumulation_steps"))
    tokens, rows = _setting(run, "training", "batch_tokens"), _setting(run, "generation", "batch_size")
    if isinstance(tokens, int) and tokens > 1:
        found.append(f"training.batch_tokens={tokens // 2}")
    elif isinstance(size, int) and size > 1:
        more = f" training.gradient_accumulation_steps={steps * 2}" if isinstance(steps, int) and not size % 2 else ""
        found.append(f"training.batch_size={size // 2}{more}")
    if _setting(run, "compute", "gradient_checkpointing") is False and run.kind in ("sft", "reward", "dpo"):
        found.append("compute.gradient_checkpointing=true")
    if _setting(run, "adapter", "type") == "full":
        found.append("adapter.type=lora")
    if run.kind == "generate":
        found.append(f"generation.batch_size={rows // 2 if isinstance(rows, int) and rows > 1 else 1}")
    longest = _setting(run, "data", "max_response_length")
    if not found and isinstance(longest, int):
        found.append(f"data.max_response_length={max(1, longest // 2)}")
    settings = " or ".join(found) or "smaller batches or a smaller model"
    return f"start it again with {settings}; close what else takes memory; 'dpotui hardware' says how much there is"


def _smaller_steps(run: Run) -> str:
    """What keeps numbers numbers."""
    found = []
    rate, limit = _setting(run, "training", "learning_rate"), _setting(run, "optimization", "max_grad_norm")
    if isinstance(rate, float):
        found.append(f"training.learning_rate={rate / 10:g}")
    if limit == 0:
        found.append("optimization.max_grad_norm=1")
    if _setting(run, "training", "warmup_steps") == 0:
        found.append("training.warmup_steps above 0")
    if _setting(run, "compute", "dtype") != "float32":
        found.append("compute.dtype=float32")
    settings = ", or ".join(found) or "a smaller learning rate"
    return f"start it again with {settings}; G shows in which modules the gradient was lost"


def _free_space(run: Run) -> str:
    kept = _setting(run, "training", "save_total_limit")
    fewer = f", lower training.save_total_limit (now {kept})" if isinstance(kept, int) and kept > 1 else ""
    return f"free some space (cache/ can be emptied){fewer}; then r resumes it from its last checkpoint"


_AGAIN = "then r resumes it from its last checkpoint"

_MEMORY = _names(
    "unable to allocate", "metal::malloc", "[malloc", "bad_alloc", "out of memory", "outofmemory",
    "insufficient memory", "cannot allocate memory",
)  # fmt: skip

_RULES: tuple[_Rule, ...] = (
    _Rule(
        _either(_kinds(MemoryError), _codes(errno.ENOMEM), _MEMORY),
        lambda error: f"out of memory ({_quoted(error, name=isinstance(error, MemoryError))})",
        less_memory,
    ),
    _Rule(
        _names("command buffer execution failed", "gpu timeout", "gpu hang", "cuda error", "cudnn"),
        lambda error: f"the GPU gave up ({_quoted(error)})",
        lambda run: f"let nothing else use the GPU, {_AGAIN}; or {less_memory(run)}",
    ),
    _Rule(
        lambda error, text: type(error).__name__ == "NotNumbers",
        lambda error: "the model gives no numbers (NaN)",
        lambda run: "its weights are broken, or overflow: set compute.dtype=float32, or take another checkpoint",
    ),
    _Rule(
        _either(
            _codes(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
            _names("disk is full", "no space left", "[write] unable to write"),
        ),
        lambda error: f"the disk is full ({_quoted(error)})",
        _free_space,
    ),
    _Rule(
        lambda error, text: isinstance(error, sqlite3.Error) and "locked" in text,
        lambda error: "runs.db was held by another program for too long",
        lambda run: f"end what else has runs.db open (a backup, a database browser), {_AGAIN}",
    ),
    _Rule(
        _kinds(sqlite3.Error),
        lambda error: f"runs.db cannot be read or written ({_quoted(error)})",
        lambda run: f"look at its disk, or put back a copy of runs.db, {_AGAIN}",
    ),
    _Rule(
        _either(_from("jinja2"), lambda error, text: type(error).__name__ == "TemplateRefusal"),
        lambda error: f"the model's chat template does not take a conversation of the data ({_quoted(error)})",
        lambda run: "'dpotui data check FILE' names such rows; for plain text set data.apply_chat_template=false",
    ),
    _Rule(
        _either(_from("requests", "httpx", "huggingface_hub", "urllib3", "urllib"), _kinds(ConnectionError)),
        lambda error: f"the network did not answer as it should ({_quoted(error, name=True)})",
        lambda run: f"look at the connection, or put the model into a folder of the workspace, {_AGAIN}",
    ),
    _Rule(
        _either(_kinds(FileNotFoundError), _names("failed to open file")),
        lambda error: f"{_named(error)} cannot be opened: it is gone, or never was",
        lambda run: f"put it back as it was, {_AGAIN}; or name another in the configuration",
    ),
    _Rule(
        _kinds(PermissionError),
        lambda error: f"{_named(error)} may not be read or written",
        lambda run: f"give yourself the right to (chmod, chown), {_AGAIN}",
    ),
    _Rule(
        _codes(errno.EMFILE, errno.ENFILE),
        lambda error: "too many files are open",
        lambda run: f"end the engine, raise the limit (ulimit -n 4096) and start dpotui again, {_AGAIN}",
    ),
    _Rule(
        _either(_from("safetensors"), _names("[load_safetensors]")),
        lambda error: f"a file of weights cannot be read ({_quoted(error)})",
        lambda run: "copy or fetch the model anew: the file was cut off or damaged",
    ),
    _Rule(
        _kinds(OSError),
        lambda error: f"{_named(error)} cannot be read or written ({_quoted(error)})",
        lambda run: f"look at the disk and at the rights, {_AGAIN}",
    ),
    _Rule(
        lambda error, text: (
            isinstance(error, ModuleNotFoundError) and (error.name or "core").split(".")[0] not in ("core", "dpotui")
        ),
        lambda error: f"a Python package is missing: {getattr(error, 'name', '')}",
        lambda run: f"install it beside dpotui (pip install), {_AGAIN}",
    ),
)
