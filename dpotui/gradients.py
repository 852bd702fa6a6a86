"""Gradient norms by module put in order: the layer and kind of each, its share of the whole, what is no number."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Order = Literal["layer", "norm"]

# A block of a model by its number: model.layers.3.self_attn.q_proj, transformer.h.3.attn.
_IN_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block|layer)\.(\d+)\.(.+)$")


@dataclass(frozen=True, slots=True)
class Module:
    """One module's norm. `layer` is None outside of the blocks; `kind` its name within one; NaN: no finite number.

    `share` is its part of the squared norm of all, None where a norm among them is lost; `before` the norm at the step
    that is compared with.
    """

    name: str
    layer: int | None
    kind: str
    norm: float
    share: float | None
    before: float | None = None

    @property
    def lost(self) -> bool:
        return not math.isfinite(self.norm)

    @property
    def times(self) -> float | None:
        """How many times what it was."""
        return self.norm / self.before if self.before and not self.lost and math.isfinite(self.before) else None


@dataclass(frozen=True, slots=True)
class Table:
    """All modules of a step, and each layer's own norm."""

    modules: tuple[Module, ...]
    total: float
    kinds: tuple[str, ...]  # of the modules in layers, in the model's order

    @property
    def lost(self) -> tuple[Module, ...]:
        return tuple(module for module in self.modules if module.lost)

    def ordered(self, order: Order) -> list[Module]:
        """The modules in the model's order, or the largest first and before them what is lost."""
        return list(self.modules) if order == "layer" else sorted(self.modules, key=_largest)

    def layers(self, order: Order) -> list[tuple[Module, dict[str, Module]]]:
        """Each layer as one module of all of its own, and those by kind; what is in no layer stands for itself."""
        found: dict[int | str, list[Module]] = {}
        for module in self.modules:
            found.setdefault(module.name if module.layer is None else module.layer, []).append(module)
        rows = [
            (own[0], {}) if isinstance(key, str) else (_layer(key, own), {module.kind: module for module in own})
            for key, own in found.items()
        ]
        return rows if order == "layer" else sorted(rows, key=lambda row: _largest(row[0]))


def table(norms: Mapping[str, float], before: Mapping[str, float] | None = None) -> Table:
    """
    Args:
        norms: by the modules' names, in the model's order.
        before: those of an earlier step.
    """
    total = math.hypot(*norms.values())
    modules = []
    for name, norm in norms.items():
        found = _IN_LAYER.search(name)
        layer, kind = (int(found[1]), found[2]) if found else (None, name.removeprefix("model."))
        earlier = before.get(name) if before else None
        modules.append(Module(name, layer, kind, norm, _share(norm, total), earlier))
    kinds = dict.fromkeys(module.kind for module in modules if module.layer is not None)
    return Table(tuple(modules), total, tuple(kinds))


def short(kinds: tuple[str, ...]) -> dict[str, str]:
    """The last word of each kind, or all of it where two end in the same one."""
    last = [kind.rpartition(".")[2] for kind in kinds]
    return {kind: word if last.count(word) == 1 else kind for kind, word in zip(kinds, last, strict=True)}


def _layer(number: int, own: list[Module]) -> Module:
    norm = math.hypot(*(module.norm for module in own))
    shares = [module.share for module in own if module.share is not None]
    befores = [module.before for module in own if module.before is not None]
    before = math.hypot(*befores) if len(befores) == len(own) else None
    return Module(
        str(number), number, f"layer {number}", norm, sum(shares) if len(shares) == len(own) else None, before
    )


def _largest(module: Module) -> tuple[int, float]:
    return (0, 0.0) if module.lost else (1, -module.norm)


def _share(norm: float, total: float) -> float | None:
    return (norm / total) ** 2 if math.isfinite(total) and total > 0 else None
