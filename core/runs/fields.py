"""What runs are found, sorted and shown by: columns, what was measured (facts), keys of their configurations."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from core.errors import UserError
from core.store import Database, runs
from core.text import one_line

Type = Literal["text", "choice", "number", "span", "moment", "tag", "note", "flag", "fact", "config"]

# Several names of one thing: of a run the first that it has.
FACTS: dict[str, tuple[str, ...]] = {
    "kl": ("dpo.kl_divergence", "init.kl_divergence", "eval.kl_divergence"),
    "gap": ("dpo.preference_gap", "eval.preference_gap", "data.preference_gap"),
    "acc": ("dpo.preference_accuracy", "reward.validation_accuracy", "eval.preference_accuracy"),
    "ppl": ("sft.perplexity", "eval.perplexity"),
    "retention": ("eval.retention",),
    "win_rate": ("eval.win_rate",),
    "pairs": ("data.pairs",),
}
KEYS: dict[str, str] = {"lr": "training.learning_rate", "model": "model.base_model", "train": "data.train_file"}

_STAGE = (
    "CASE WHEN runs.kind = 'evaluate' AND json_extract(runs.config, '$.evaluation.subject') = 'baseline' THEN 1 "
    + "".join(f"WHEN runs.kind = '{kind}' THEN {stage} " for kind, stage in runs.STAGE_OF_KIND.items())
    + "END"
)


@dataclass(frozen=True, slots=True)
class Field:
    """`sql` is its value in a query over `runs`, `arguments` fill its question marks.

    `lives`: it changes while a run goes on, without a word of it elsewhere in runs.db.
    """

    name: str
    type: Type
    sql: str
    arguments: tuple[Any, ...] = ()
    lives: bool = False


_COLUMNS = {
    field.name: field
    for field in (
        Field("id", "text", "runs.id"),
        Field("name", "text", "runs.name"),
        Field("kind", "choice", "runs.kind"),
        Field("state", "choice", "runs.state"),
        Field("stage", "number", _STAGE),
        Field("parent", "text", "coalesce(runs.parent, '')"),
        Field("part", "text", "coalesce(runs.part_of, '')"),
        Field("who", "text", "runs.who"),
        Field("error", "text", "coalesce(runs.error, '')"),
        Field("file", "text", "coalesce(runs.config_path, '')"),
        Field("output", "text", "coalesce(runs.output_dir, '')"),
        Field("phase", "text", "runs.phase", lives=True),
        Field("seed", "number", "runs.seed"),
        Field("step", "number", "runs.step", lives=True),
        Field("steps", "number", "runs.steps", lives=True),
        Field("progress", "number", "100.0 * runs.step / nullif(runs.steps, 0)", lives=True),
        Field("took", "span", "coalesce(runs.ended, ?) - runs.started", lives=True),
        Field("age", "span", "? - runs.created", lives=True),
        Field("created", "moment", "runs.created"),
        Field("started", "moment", "runs.started"),
        Field("ended", "moment", "runs.ended"),
        Field("since", "moment", "runs.created", lives=True),
        Field("before", "moment", "runs.created", lives=True),
        Field("tag", "tag", "runs.tags"),
        Field("note", "note", "runs.id", lives=True),
        Field("archived", "flag", "runs.archived IS NOT NULL"),
    )
}


def resolve(db: Database, name: str, now: float) -> Field:
    """The field of a name, as a person types it.

    Raises:
        UserError: there is none, or there are several.
    """
    found = _COLUMNS.get(name) or _COLUMNS.get(name.casefold())
    if found is not None:
        return replace(found, arguments=(now,) * found.sql.count("?"))
    if name.casefold() in FACTS:
        return _fact(name.casefold(), FACTS[name.casefold()])
    if name in KEYS:
        return _key(name, KEYS[name])
    facts = [row[0] for row in db.execute("SELECT DISTINCT name FROM facts")]
    if name in facts:
        return _fact(name, (name,))
    keys = known_keys(db)
    if name in keys or ("." in name and _is_key(db, name)):
        return _key(name, name)
    several = _ending(name, facts) + _ending(name, keys)
    if not several:
        keys = sorted({*keys, *_model_keys()})
        if name in keys:
            return _key(name, name)
        several = _ending(name, keys)
    if len(several) > 1:
        raise UserError(f"'{one_line(name, 60)}' is {_listed(several)}: write one of them")
    if not several:
        raise UserError(_unknown(name, facts, keys))
    return _fact(name, (several[0],)) if several[0] in facts else _key(name, several[0])


def sortable(name: str) -> bool:
    """Whether a list can be sorted by a field of this name; of those that are no columns only the query knows."""
    field = _COLUMNS.get(name)
    return field is None or field.type not in ("tag", "note", "flag")


def known_keys(db: Database) -> list[str]:
    """Keys that configurations of runs have: those of the newest run of each kind."""
    found: dict[str, None] = {}
    for (kind,) in db.execute("SELECT DISTINCT kind FROM runs").fetchall():
        sql = "SELECT config FROM runs WHERE kind = ? ORDER BY created DESC LIMIT 1"
        (config,) = db.execute(sql, [kind]).fetchone()
        found |= dict.fromkeys(flattened(json.loads(config)))
    return list(found)


def flattened(config: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """A configuration as `section.key` and its value."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping) and value:
            found |= flattened(value, f"{name}.")
        else:
            found[name] = value
    return found


def json_path(key: str) -> str:
    """SQLite's path of a dotted key."""
    return "$." + ".".join(f'"{part}"' for part in key.split("."))


def names() -> list[str]:
    """Names that need no knowledge of runs."""
    return [*_COLUMNS, *FACTS, *KEYS]


def _fact(name: str, facts: tuple[str, ...]) -> Field:
    one = "(SELECT value FROM facts WHERE facts.run = runs.id AND facts.name = ? ORDER BY facts.id DESC LIMIT 1)"
    sql = one if len(facts) == 1 else f"coalesce({', '.join([one] * len(facts))})"
    return Field(name, "fact", sql, facts)


def _key(name: str, key: str) -> Field:
    return Field(name, "config", "json_extract(runs.config, ?)", (json_path(key),))


def _is_key(db: Database, name: str) -> bool:
    """Whether any run has it: a look at all of them, for a name that none of the newest has."""
    sql = "SELECT 1 FROM runs WHERE json_type(config, ?) IS NOT NULL LIMIT 1"
    return db.execute(sql, [json_path(name)]).fetchone() is not None


def _model_keys() -> Iterable[str]:
    """Those of all kinds of configuration: read only when no run has the key."""
    from core.config import RUN_CONFIGS, keys

    return [key.path for model in RUN_CONFIGS.values() for key in keys(model)]


def _ending(name: str, known: Iterable[str]) -> list[str]:
    return [each for each in known if each.endswith(f".{name}")]


def _listed(several: list[str]) -> str:
    shown = " or ".join(one_line(each, 60) for each in several[:4])
    return f"{shown} or {len(several) - 4} more" if len(several) > 4 else shown


def _unknown(name: str, facts: list[str], keys: list[str]) -> str:
    every = [*names(), *facts, *keys, *(each.rsplit(".", 1)[-1] for each in (*facts, *keys))]
    near = difflib.get_close_matches(name, every, 1, 0.7)
    shown = one_line(name, 60)
    if near:
        return f"no field '{shown}': did you mean '{one_line(near[0], 60)}'?"
    return (
        f"no field '{shown}': fields are {', '.join(list(_COLUMNS)[:6])} ..., facts as {', '.join(list(FACTS)[:3])},"
        " and keys of configurations as beta (docs/runs.md)"
    )
