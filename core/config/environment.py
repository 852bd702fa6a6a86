"""The keys of `compute.environment`: variables and limits of MLX that are set for a run, and put back after it."""

from __future__ import annotations

from pydantic import Field

from core.config.section import Number, Section, unit

# Beyond it a limit is a slip of the keyboard; MLX counts bytes in 64 bits.
_MOST_GB = 100_000


class Environment(Section):
    """A key that is left out leaves to the shell what the engine was started from, then to the default."""

    metal_fast_synch: bool | None = Field(
        default=None,
        description="MLX_METAL_FAST_SYNCH: CPU and GPU wait for each other by polling, ten times sooner, which counts"
        " where several machines train. It may lock the GPU until the Mac is restarted (MLX issues 3142, 3830).",
    )
    metal_preallocate: bool | None = Field(
        default=None,
        description="MLX_METAL_PREALLOCATE, which no version of MLX reads: wired_limit_gb and cache_limit_gb do what"
        " its name promises.",
    )
    relax_gpu_watchdog: bool | None = Field(
        default=None,
        description="AGX_RELAX_CDM_CTXSTORE_TIMEOUT: macOS ends long GPU work less soon while a display is active; the"
        " display answers less well meanwhile (MLX issue 3267).",
    )
    tokenizers_parallelism: bool | None = Field(
        default=None,
        description="TOKENIZERS_PARALLELISM: tokenize many rows at once on all cores.",
    )
    wired_limit_gb: Number | None = Field(
        default=None,
        description="Memory that stays resident on the GPU (mx.set_wired_limit), so that weights are not paged in again"
        " at each step; without it the working set that Metal recommends, 0 wires nothing.",
        ge=0,
        le=_MOST_GB,
        json_schema_extra=unit("GB"),
    )
    cache_limit_gb: Number | None = Field(
        default=None,
        description="Memory that MLX keeps to use again instead of giving it back (mx.set_cache_limit); without it as"
        " much as its memory limit allows, 0 keeps nothing.",
        ge=0,
        le=_MOST_GB,
        json_schema_extra=unit("GB"),
    )
    memory_limit_gb: Number | None = Field(
        default=None,
        description="Memory from which on MLX waits for running work before it takes more (mx.set_memory_limit);"
        " without it what MLX takes for right.",
        gt=0,
        le=_MOST_GB,
        json_schema_extra=unit("GB"),
    )

    def conflicts(self) -> list[tuple[str, str]]:
        cache, memory = self.cache_limit_gb, self.memory_limit_gb
        if cache is not None and memory is not None and cache > memory:
            return [("cache_limit_gb", f"is more than memory_limit_gb ({memory:g}): let it be less")]
        return []
