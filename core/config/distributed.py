"""The keys of `compute.distributed`: over which machines a training is spread, and what each takes of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from core.config.section import Number, Section, Text, number

Backend = Literal["ring", "jaccl", "jaccl-ring", "mpi", "nccl"]
HOW = ("chips", "equal", "measure")


def _shares(value: object) -> object:
    """A word, or proportions."""
    if value is None:
        return None
    given = [number(one) for one in value] if isinstance(value, list) else value
    if given in HOW:
        return given
    if not isinstance(given, list) or not given or not all(_is_share(one) for one in given):
        raise PydanticCustomError("shares", f"neither {', '.join(HOW)} nor a list of numbers above 0 such as [65, 35]")
    return given


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e9


Shares = Annotated[Literal["chips", "equal", "measure"] | list[Number], BeforeValidator(_shares)]


class Distributed(Section):
    hosts: Text | None = Field(
        default=None,
        description="The hosts file: mlx.launch's JSON, which mlx.distributed_config writes; each host may have a share"
        " in it, and the workspace (cwd) and python there. Left out, one machine trains.",
    )
    backend: Backend | None = Field(
        default=None,
        description="How the hosts talk: ring (TCP), jaccl (RDMA over Thunderbolt), mpi or nccl. Left out, what the"
        " hosts file says, else ring.",
    )
    shares: Shares | None = Field(
        default=None,
        description="What each host takes of every batch: a list such as [65, 35]; equal; chips, by a table of Apple's"
        " chips; measure, by timing a few batches on each. Left out, the hosts file's, else chips, else equal.",
        json_schema_extra={"allowed": f"{', '.join(HOW)}, or a list of numbers above 0"},
    )
