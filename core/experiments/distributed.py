"""What a configuration says of several machines: its hosts, its shares, and what cannot be spread over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from core.config import TrainingConfig
from core.config.distributed import Distributed
from core.errors import UserError
from core.experiments.hosts import Hosts, normalized, read_hosts
from core.store import Database, runs
from core.store.ranks import shares_words
from core.store.runs import Run
from core.workspace import Workspace

# Losses that look at a whole batch at once: a part of it has another loss (core.training.losses, `by_pair`).
WHOLE_BATCH = frozenset({"aot", "aot_unpaired", "sft"})

# Relative speed: GPU cores of the largest chip of the name (Apple's technical specifications) times the clock in GHz of
# its generation's GPU (1.28, 1.40, 1.38, 1.58). A rule of thumb: chips are sold with fewer cores, and what bounds a
# step is not only that; measuring is better. M3 Ultra beside M4 Max come to 64/36. The M5's matrix units make its cores
# speak of little, so it is not here.
CHIPS: Mapping[str, float] = {
    name: cores * clock
    for clock, chips in (
        (1.28, {"Apple M1": 8, "Apple M1 Pro": 16, "Apple M1 Max": 32, "Apple M1 Ultra": 64}),
        (1.40, {"Apple M2": 10, "Apple M2 Pro": 19, "Apple M2 Max": 38, "Apple M2 Ultra": 76}),
        (1.38, {"Apple M3": 10, "Apple M3 Pro": 18, "Apple M3 Max": 40, "Apple M3 Ultra": 80}),
        (1.58, {"Apple M4": 10, "Apple M4 Pro": 20, "Apple M4 Max": 40}),
    )
    for name, cores in chips.items()
}


# What is to be done where ranks were lost.
AGAIN = (
    "r resumes it from its last checkpoint; 'dpotui runs resume RUN --hosts other.json' does so on other hosts,"
    " --hosts none on this machine alone"
)


class Shares(NamedTuple):
    """What each rank takes, together 1, and why; `measure`: only until it was measured."""

    shares: tuple[float, ...]
    why: str
    measure: bool = False


def settings_of(config: TrainingConfig) -> Distributed:
    return config.compute.distributed


def hosts_of(workspace: Workspace, config: TrainingConfig) -> Hosts | None:
    """The hosts that a configuration names, ready to be launched; None where one machine trains.

    Raises:
        UserError: the file or one of its entries is wrong, or the configuration cannot be spread over them.
    """
    found = settings_of(config)
    if found.hosts is None:
        return None
    path = workspace.path(found.hosts)
    hosts = read_hosts(path).with_backend(found.backend, found.hosts)
    if len(hosts) == 1:
        return None
    hosts.first_is_here(found.hosts)
    refuse(config)
    if isinstance(found.shares, list) and len(found.shares) != len(hosts):
        raise UserError(
            f"compute.distributed.shares has {len(found.shares)} numbers for the {len(hosts)} hosts of {found.hosts}:"
            " give one for each (--shares 65,35), or measure"
        )
    return hosts


def refuse(config: TrainingConfig) -> None:
    """Raises:
    UserError: the loss is not a sum over pairs.
    """
    types: Sequence[str] = getattr(config.training, "loss_types", ())
    whole = [name for name in types if name in WHOLE_BATCH]
    if whole:
        raise UserError(
            f"training.loss_type: {whole[0]} looks at all pairs of a batch at once and cannot be spread over hosts:"
            " take another loss, such as sigmoid, or leave out --hosts"
        )


def shares_of(config: TrainingConfig, hosts: Hosts, chips: Sequence[str]) -> Shares:
    """What each rank takes of a batch, by the configuration, the hosts file or the chips that they said they have."""
    wanted = settings_of(config).shares
    count = len(hosts)
    equal = (1 / count,) * count
    if isinstance(wanted, list):
        return Shares(normalized(wanted), "given")
    if wanted == "measure":
        return Shares(equal, "to be measured", measure=True)
    if wanted is None and hosts.shares is not None:
        return Shares(hosts.shares, "from the hosts file")
    if wanted == "equal":
        return Shares(equal, "equal")
    if len(set(chips)) == 1:
        return Shares(equal, f"all have {chips[0]}")
    unknown = next((chip for chip in chips if chip not in CHIPS), None)
    if unknown is None:
        return Shares(normalized([CHIPS[chip] for chip in chips]), "by chip")
    if wanted == "chips":
        raise UserError(f"compute.distributed.shares: chips: '{unknown}' is not in the table: take measure")
    return Shares(equal, f"equal, for nothing is known of '{unknown}': --shares measure finds better ones")


def resume_on(db: Database, workspace: Workspace, run: Run, options: Sequence[str]) -> None:
    """Let a run go on with other hosts, on one machine, or with other shares. Shares of earlier hosts are forgotten.

    Args:
        options: overrides of the configuration.

    Raises:
        UserError: the run does not train, or the hosts are wrong.
    """
    from core.config import CONFIGS
    from core.config.load import overridden

    if run.kind not in CONFIGS:
        raise UserError(f"{run.id} is a run of kind {run.kind}, which one machine executes: leave out --hosts")
    snapshot: dict[str, Any] = {**run.config, "compute": {**run.config.get("compute", {})}}
    if any(option.startswith("compute.distributed.hosts=") for option in options):
        snapshot["compute"].pop("distributed", None)
    config = overridden(CONFIGS[run.kind], snapshot, options)
    hosts_of(workspace, config)
    runs.update(db, run.id, config=config.model_dump(mode="json"))


def words(hosts: Hosts, shares: Shares) -> str:
    """One line for the log: who trains, how they talk, what each takes."""
    names = ", ".join(hosts.names)
    return f"{len(hosts)} ranks over {hosts.backend}: {names}; {shares_words(shares.shares)}, {shares.why}"
