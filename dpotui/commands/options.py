"""Options that several commands take."""

from __future__ import annotations

from typing import Any

import click


class Scale(click.ParamType):
    """LOW:HIGH, the lowest and the highest possible score."""

    name = "scale"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        if isinstance(value, tuple):
            return value
        try:
            low, high = (float(part) for part in str(value).split(":"))
        except ValueError:
            self.fail("two numbers are wanted, lowest and highest possible score, such as 1:10", param, ctx)
        if not -1e300 < low < high < 1e300:
            self.fail("the first number must be the smaller one, such as 1:10", param, ctx)
        return low, high


scale_option = click.option(
    "--scale", type=Scale(), metavar="LOW:HIGH", help="What scores can be, such as 1:10 (default: found from them)."
)
