"""The comment behind an item: what Markdown does not say, invisible when rendered.

    - [ ] KL divergence: _____ (target ≤0.1) <!-- id: dpo.gates.kl_divergence fact: dpo.kl_divergence -->

`key: value` pairs, in any order:

- `id`         the name of the item, for good. Without it the id is made of the item's words, and rewording the item
               makes it a new one.
- `fact`       the fact that fills and ticks the item. With several blanks, one for each in order, with commas, and `-`
               for a blank that a person fills. Without a blank, all that are named must be there.
- `target`     what the value has to meet where the text does not say it (`>0`, `≈0.2`, `=0`), or `measured`: done as
               soon as its facts were measured, whatever they say.
- `tolerance`  how near `≈` is.
- `unit`       the unit of the first blank where the text does not say it.
- `tick`       `person`: the fact fills the item, a person ticks it.

A bound item without blank and target is a yes/no one: its fact ticks it at 1 and fails it at 0. On a heading only `id`
is read. A comment that does not begin with one lower-case word and a colon is a remark, and left alone.
"""

from __future__ import annotations

import difflib
import re

KEYS = ("id", "fact", "target", "tolerance", "unit", "tick")

_OURS = re.compile(r"\s*[a-z_]+:")
_KEY = re.compile(r"(?:^|(?<=\s))([A-Za-z_]+):")


def is_ours(body: str) -> bool:
    return _OURS.match(body) is not None


def read(body: str, allowed: tuple[str, ...] = KEYS) -> dict[str, str]:
    """The pairs of a comment's body.

    Raises:
        ValueError: in words, what is wrong with it.
    """
    found = list(_KEY.finditer(body))
    pairs: dict[str, str] = {}
    for here, after in zip(found, [*found[1:], None], strict=True):
        key, value = here[1], body[here.end() : after.start() if after else len(body)].strip()
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, 1)
            meant = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(KEYS)}"
            raise ValueError(f"unknown key '{key}' in the comment: {meant}")
        if key not in allowed:
            raise ValueError(f"'{key}' means nothing on a heading: only 'id' is read there")
        if key in pairs:
            raise ValueError(f"'{key}' stands twice in the comment: keep one")
        if not value:
            raise ValueError(f"'{key}:' in the comment has no value: write '{key}: VALUE' or take it out")
        pairs[key] = value
    return pairs
