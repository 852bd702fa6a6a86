"""Thresholds: the gates as `configs/gates.yaml` has them, each a fact, a comparison and a number."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from core.config import RUN_CONFIGS, Document, read, standing, validate
from core.config.models import Number, Section, Text, Whole
from core.errors import UserError
from core.text import one_line, printable
from core.workspace import Workspace, templates

FILE = "gates.yaml"
DPO_FILE = "dpo_config.yaml"

Op = Literal["≥", "≤", ">", "<"]

_OPS: dict[str, tuple[Op, Callable[[float, float], bool]]] = {
    ">=": ("≥", operator.ge),
    "<=": ("≤", operator.le),
    ">": (">", operator.gt),
    "<": ("<", operator.lt),
}
_COMPARE = dict(_OPS.values())


@dataclass(frozen=True, slots=True)
class Gate:
    """`threshold` is in `unit`. `enforce` names the stage for which `enforce_gates` looks at it, if any does.

    `file` of the workspace's configs holds the threshold, under `key` where that is not gates.yaml itself.
    """

    stage: int
    name: str
    title: str
    fact: str
    op: Op
    threshold: float
    unit: str = ""
    enforce: str | None = None
    file: str = FILE
    key: str = ""

    @property
    def target(self) -> str:
        """'≥0.15', '≥95%'."""
        percent = self.unit if self.unit == "%" else ""
        return f"{self.op}{self.threshold:.12g}{percent}"

    @property
    def ascii_op(self) -> str:
        """`>=` for `≥`, as gates.yaml and programs write it."""
        return next(text for text, (sign, _) in _OPS.items() if sign == self.op)

    def meets(self, value: float) -> bool:
        """Whether a value in the gate's unit meets the threshold, exactly; what is not finite never does."""
        return math.isfinite(value) and _COMPARE[self.op](value, self.threshold)


# In a key: whatever name stands there. In a gate's name, title and fact: that name.
EACH = "*"


class _Reference(Section):
    file: Text = Field(description="A YAML file beside gates.yaml.")
    key: Text = Field(
        description="A key of it with its section, such as constraints.kl_target. One * in place of a name makes a gate"
        " of each name that has the key, except where another gate refers to that very key."
    )
    times: Number = Field(default=1.0, description="What the number is multiplied by; 100 makes a share a percentage.")
    optional: bool = Field(default=False, description="Without the key (or the file) there is no such gate.")

    def conflicts(self) -> list[tuple[str, str]]:
        if Path(self.file).name != self.file:
            return [("file", "must be the name of a file beside gates.yaml, without a folder")]
        if self.key.count(EACH) > self.each:
            return [("key", "may hold one * in the place of a name, as in capability_benchmarks.*.baseline_threshold")]
        return []

    @property
    def each(self) -> bool:
        """Whether it stands for several keys."""
        return EACH in self.key.split(".")


class _Entry(Section):
    stage: Whole = Field(description="Stage of the workflow.", ge=0, le=7)
    name: Text = Field(description="Name of the gate, one of its kind in its stage.")
    title: Text = Field(description="Name for people.")
    fact: Text = Field(description="The fact that is judged.")
    op: Literal[">=", "<=", ">", "<"] = Field(description="How the fact is compared with the threshold.")
    threshold: Any = Field(description="A number, or {file, key} of one.")
    unit: str = Field(default="", description="Unit of the threshold.")
    enforce: Literal["preference_data", "dpo_training", "evaluation"] | None = Field(
        default=None, description="The stage for which this gate is enforced on a given file or value."
    )


class _Threshold(Section):
    threshold: Number = Field(description="The bound.")


def load_gates(
    workspace: Workspace | None = None, config: Mapping[str, Any] | None = None, file: str | None = None
) -> list[Gate]:
    """The gates of `configs/gates.yaml`, in the order of the file.

    Args:
        workspace: without one the gates are those of the templates.
        config: a configuration that takes the place of `file` in thresholds, such as a run's own.
        file: the name of a file beside gates.yaml; without one `dpo_config.yaml`.

    Raises:
        UserError: an error in the file, or in a key that a threshold refers to, with file, line and key.
    """
    folder = templates() if workspace is None else workspace.configs
    if not (folder / FILE).exists():
        raise UserError(f"{folder / FILE} does not exist: 'dpotui init {folder.parent}' puts the template there")
    document = read(folder / FILE)
    own = {} if config is None else {file or DPO_FILE: config}
    entries = document.value.get("gates")
    if not isinstance(entries, list) or set(document.value) != {"gates"}:
        raise UserError(
            f"{document.name}:1: one list 'gates:' is wanted, with stage, name, title, fact, op, threshold each"
        )
    found: list[Gate] = []
    problems = []
    other = cache(read)  # most thresholds refer to the same two files
    taken = {_key(entry) for entry in entries}
    for index in range(len(entries)):
        try:
            gates = _gates(document, index, folder, own, other, taken)
        except UserError as error:
            problems.append(str(error))
            continue
        for gate in gates:
            if any((gate.stage, gate.name) == (known.stage, known.name) for known in found):
                where, name = document.where(("gates", index, "name")), printable(gate.name)
                problems.append(f"{where}: stage {gate.stage} has another gate '{name}': name it otherwise")
            found.append(gate)
    if problems:
        raise UserError("\n".join(dict.fromkeys(problems)))  # a missing file is one, however many refer to it
    return found


def _key(entry: object) -> tuple[object, object] | None:
    """File and key that an entry refers to, before it is known to be right."""
    threshold = entry.get("threshold") if isinstance(entry, Mapping) else None
    return (str(threshold.get("file")), str(threshold.get("key"))) if isinstance(threshold, Mapping) else None


def _gates(
    document: Document,
    index: int,
    folder: Path,
    own: Mapping[str, Mapping[str, Any]],
    other: Callable[[Path], Document],
    taken: Collection[object],
) -> list[Gate]:
    """The gate of an entry; none where its key need not be there; one for each name that * stands for."""
    at = ("gates", index)
    entry = validate(document, _Entry, at)
    each = False
    thresholds: dict[str, float] = {}
    reference: _Reference | None = None
    if isinstance(entry.threshold, Mapping):
        reference = validate(document, _Reference, (*at, "threshold"))
        where, each = document.where((*at, "threshold")), reference.each
        if each:
            named = _each(where, reference, folder, own, other)
            thresholds = {name: one for name, key, one in named if (reference.file, key) not in taken}
        elif (threshold := _referred(where, reference, folder, own, other)) is not None:
            thresholds = {EACH: threshold}
    else:
        only = Document(
            document.name, {"threshold": entry.threshold}, {("threshold",): document.line((*at, "threshold"))}
        )
        thresholds = {EACH: validate(only, _Threshold, ()).threshold}
    for key in ("name", "fact"):
        if (EACH in getattr(entry, key)) != each:
            wanted = "needs a * as the threshold's key has one" if each else "has a * that the threshold's key has not"
            raise UserError(f"{document.where((*at, key))}: gates.{index}.{key}: {wanted}: it stands for the name")
    sign, _ = _OPS[entry.op]
    return [
        Gate(
            entry.stage,
            one_line(entry.name.replace(EACH, name), 60),
            one_line(entry.title.replace(EACH, name), 60),
            one_line(entry.fact.replace(EACH, name), 60),
            sign,
            threshold,
            one_line(entry.unit, 30),
            entry.enforce,
            FILE if reference is None else reference.file,
            "" if reference is None else one_line(reference.key.replace(EACH, name), 120),
        )
        for name, threshold in thresholds.items()
    ]


def _each(
    where: str,
    reference: _Reference,
    folder: Path,
    own: Mapping[str, Mapping[str, Any]],
    other: Callable[[Path], Document],
) -> Iterator[tuple[str, str, float]]:
    """Every name that * may stand for, with the key and its number, where it has one."""
    before, _, after = f".{reference.key}.".partition(f".{EACH}.")
    section: Any = _document(reference, folder, own, other).value
    for part in filter(None, before.split(".")):
        section = section.get(part) if isinstance(section, Mapping) else None
    for name in section if isinstance(section, Mapping) else ():
        key = f"{before}.{name}.{after}".strip(".")
        one = reference.model_copy(update={"key": key, "optional": True})
        if (threshold := _referred(where, one, folder, own, other)) is not None:
            yield str(name), key, threshold


def _document(
    reference: _Reference,
    folder: Path,
    own: Mapping[str, Mapping[str, Any]],
    other: Callable[[Path], Document],
) -> Document:
    """The file that a threshold refers to, or what stands for it; an empty one where it need not be there."""
    if reference.file in own:
        return Document("the run's configuration", dict(own[reference.file]))
    if reference.optional and not standing(folder / reference.file).exists():
        return Document(reference.file, {})
    return other(folder / reference.file)


def _referred(
    where: str,
    reference: _Reference,
    folder: Path,
    own: Mapping[str, Mapping[str, Any]],
    other: Callable[[Path], Document],
) -> float | None:
    """The number that a threshold refers to, in a file or in what stands for it; None where it need not be there."""
    path = tuple(reference.key.split("."))
    document = _document(reference, folder, own, other)
    value: Any = document.value
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    if value is None:
        if reference.optional:
            return None
        value = _default(reference.file, path)
    if value is None:
        raise UserError(f"{where}: {document.name} has no key {printable(reference.key)}")
    only = Document(document.name, {"threshold": value}, {("threshold",): document.line(path)})
    try:
        return _product(validate(only, _Threshold, ()).threshold, reference.times)
    except UserError:
        raise UserError(f"{document.where(path)}: {printable(reference.key)}: must be a number") from None


def _default(file: str, path: tuple[str, ...]) -> Any:
    """What a run takes where its configuration leaves a key out; None where it may not be left out."""
    model = RUN_CONFIGS.get(file.removesuffix("_config.yaml"))
    field = None if model is None else model.model_fields.get(path[0])
    value = None if field is None or field.is_required() else field.get_default(call_default_factory=True)
    for part in path[1:]:
        value = getattr(value, part, None)
    return value


def _product(number: float, times: float) -> float:
    """A product as it would be written down: 0.95 times 100 is 95."""
    return float(Decimal(repr(number)) * Decimal(repr(times)))
