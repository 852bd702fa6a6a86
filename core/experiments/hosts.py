"""The hosts file: which machines take part, in mlx.launch's JSON, with what each is to have of the work beside it."""

from __future__ import annotations

import ipaddress
import json
import math
import re
import socket
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from core.config.distributed import Backend
from core.errors import UserError
from core.text import printable

BACKENDS: tuple[str, ...] = get_args(Backend)

# More than this is no list of machines.
_LARGEST_FILE = 1 << 20
_MOST_HOSTS = 1024

_FILE_KEYS = ("backend", "envs", "hosts")
_HOST_KEYS = ("ssh", "ips", "rdma", "share", "cwd", "python")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

# RDMA devices towards another host: none, one or several.
Rdma = str | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Host:
    """One rank: a machine may stand in the file several times.

    Attributes:
        ssh: the name by which ssh reaches it.
        ips: addresses at which the other ranks reach it.
        rdma: its RDMA devices, one entry for each host of the file, None for itself.
        share: what it is to have of the work, as a proportion to the others'; None: not given.
        cwd: the workspace there; None: the same path as here.
        python: the Python there that has dpotui; None: the same path as here.
    """

    ssh: str
    ips: tuple[str, ...] = ()
    rdma: tuple[Rdma, ...] = ()
    share: float | None = None
    cwd: str | None = None
    python: str | None = None

    @property
    def here(self) -> bool:
        """Whether it is the machine that asks."""
        own = socket.gethostname().lower()
        names = {own, own.split(".")[0], f"{own.split('.')[0]}.local", *_LOOPBACK}
        name = self.ssh.rpartition("@")[2].lower()
        return name in names or any(map(_is_own, (name, *self.ips)))

    def as_json(self) -> dict[str, Any]:
        """As the file has it."""
        found: dict[str, Any] = {"ssh": self.ssh, "ips": list(self.ips), "rdma": [_plain(one) for one in self.rdma]}
        more = {"share": self.share, "cwd": self.cwd, "python": self.python}
        return found | {key: value for key, value in more.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Hosts:
    """The machines of a file in the order of their ranks; the first one has runs.db.

    Attributes:
        backend: how they talk; "" where the file does not say.
        envs: variables of the environment for every rank, `NAME=VALUE`.
    """

    hosts: tuple[Host, ...]
    backend: str = ""
    envs: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.hosts)

    @property
    def shares(self) -> tuple[float, ...] | None:
        """What each is to have of the work, together 1; None where the file does not say."""
        given = [host.share for host in self.hosts if host.share is not None]
        return normalized(given) if len(given) == len(self.hosts) else None

    @property
    def names(self) -> tuple[str, ...]:
        """What the ranks are called: by host, and by number where a host has several."""
        plain = [printable(host.ssh) for host in self.hosts]
        many = {name for name in plain if plain.count(name) > 1}
        return tuple(f"{name} ({rank})" if name in many else name for rank, name in enumerate(plain))

    @property
    def all_here(self) -> bool:
        """Whether every rank is on this machine."""
        return all(host.here for host in self.hosts)

    def as_json(self) -> dict[str, Any]:
        """As the file has it."""
        return {"backend": self.backend, "envs": list(self.envs), "hosts": [host.as_json() for host in self.hosts]}

    def with_backend(self, backend: str | None, source: str) -> Hosts:
        """These hosts with the backend that was named, or the file's, or the ring; checked for what it needs.

        Raises:
            UserError: the backend needs what the file does not have.
        """
        chosen = backend or self.backend or "ring"
        if chosen not in BACKENDS:
            raise UserError(f"{source}: backend '{printable(chosen)}' is not known: it is one of {', '.join(BACKENDS)}")
        for number, host in enumerate(self.hosts, 1):
            where = f"{source}: entry {number} ({printable(host.ssh)})"
            if chosen == "ring" and not host.ips and len(self.hosts) > 1:
                raise UserError(f"{where} has no 'ips', which the ring backend connects by: add [\"its address\"]")
            if chosen.startswith("jaccl") and len(host.rdma) != len(self.hosts):
                raise UserError(
                    f"{where} has {len(host.rdma)} RDMA devices for {len(self.hosts)} hosts: write the file with"
                    " 'mlx.distributed_config --backend jaccl', or name --backend ring"
                )
        if chosen in ("jaccl", "jaccl-ring", "nccl") and not self.hosts[0].ips:
            raise UserError(f"{source}: entry 1 has no 'ips': the others need an address of it")
        return replace(self, backend=chosen)

    def first_is_here(self, source: str) -> None:
        """Raises:
        UserError: rank 0 would be on another machine, and runs.db is on this one.
        """
        if not self.hosts[0].here:
            raise UserError(
                f"{source}: entry 1 ({printable(self.hosts[0].ssh)}) is not this machine, whose runs.db keeps the run:"
                " put this machine first"
            )


def read_hosts(path: Path) -> Hosts:
    """The hosts of a file as mlx.launch takes it and mlx.distributed_config writes it.

    Raises:
        UserError: it cannot be read, or an entry is wrong; says which and how to mend it.
    """
    source = printable(str(path))
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise UserError(f"{source} is larger than 1 MB: that is no hosts file")
        text = path.read_text("utf-8")
    except OSError as error:
        raise UserError(
            f"{source} cannot be read ({error.strerror or error}): write one with 'mlx.distributed_config --hosts"
            " mac1,mac2 --output-hostfile hosts.json'"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{source} is not UTF-8 text: write it as JSON") from error
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{source} line {error.lineno}: no valid JSON ({error.msg}): mend it there") from error
    except (RecursionError, ValueError) as error:
        raise UserError(f"{source} is no valid JSON ({error}): mend it") from error
    return parse_hosts(found, source)


def parse_hosts(found: Any, source: str) -> Hosts:
    """What JSON that was read comes to; `source` is how errors name where it stands.

    Raises:
        UserError: an entry is wrong.
    """
    if isinstance(found, list):
        found = {"hosts": found}
    if not isinstance(found, dict) or "hosts" not in found:
        raise UserError(
            f'{source} has no \'hosts\': it should read {{"hosts": [{{"ssh": "mac1", "ips": [...]}}, ...]}}'
        )
    _refuse_unknown(found, _FILE_KEYS, source)
    backend = found.get("backend") or ""
    if not isinstance(backend, str) or (backend and backend not in BACKENDS):
        raise UserError(f"{source}: backend {_shown(backend)} is not known: it is one of {', '.join(BACKENDS)}")
    entries = found["hosts"]
    if not isinstance(entries, list) or not 1 <= len(entries) <= _MOST_HOSTS:
        raise UserError(f"{source}: 'hosts' should be a list of 1 to {_MOST_HOSTS} hosts")
    hosts = tuple(_host(entry, f"{source}: entry {number}") for number, entry in enumerate(entries, 1))
    for number, host in enumerate(hosts, 1):
        where = f"{source}: entry {number} ({printable(host.ssh)})"
        if host.rdma and (len(host.rdma) != len(hosts) or host.rdma[number - 1] is not None):
            raise UserError(f"{where}: 'rdma' should have {len(hosts)} entries, null for itself (the one at {number})")
        if (host.share is None) != (hosts[0].share is None):
            raise UserError(f"{source}: some entries have a 'share' and entry {number} differs: give all one, or none")
    return Hosts(hosts, backend, _envs(found.get("envs") or [], source))


def normalized(given: list[float]) -> tuple[float, ...]:
    """Proportions as parts of 1."""
    total = math.fsum(given)
    return tuple(share / total for share in given)


def parse_shares(text: str) -> list[float]:
    """`65,35` or `65/35` as numbers.

    Raises:
        UserError: they are none.
    """
    try:
        found = [float(part) for part in re.split(r"[,/]", text)]
    except ValueError:
        found = []
    if not found or not all(math.isfinite(share) and share > 0 for share in found):
        raise UserError(f"--shares {printable(text)}: numbers above 0, one for each host, such as 65,35; or measure")
    return found


def _host(entry: Any, where: str) -> Host:
    if not isinstance(entry, dict):
        raise UserError(f'{where} is {_shown(entry)}: it should read {{"ssh": "mac1", "ips": ["192.168.1.2"]}}')
    _refuse_unknown(entry, _HOST_KEYS, where)
    if "ssh" not in entry:
        raise UserError(f"{where} has no 'ssh': name the host as ssh knows it, or 127.0.0.1 for this machine")
    ssh = entry["ssh"]
    # What begins with a dash would be an option of ssh.
    if not isinstance(ssh, str) or not re.fullmatch(r"[A-Za-z0-9_\[:][\w.@:%\[\]-]*", ssh, re.ASCII):
        raise UserError(f"{where}: 'ssh' {_shown(ssh)} is no name of a host: write it as ssh knows it")
    where = f"{where} ({printable(ssh)})"
    return Host(
        ssh,
        _ips(entry.get("ips") or [], where),
        _rdma(entry.get("rdma") or [], where),
        _share(entry.get("share"), where),
        _path(entry, "cwd", where),
        _path(entry, "python", where),
    )


def _ips(found: Any, where: str) -> tuple[str, ...]:
    if not isinstance(found, list):
        raise UserError(f"{where}: 'ips' should be a list of addresses, such as [\"192.168.1.2\"]")
    for address in found:
        try:
            if not isinstance(address, str):
                raise ValueError
            ipaddress.ip_address(address)
        except ValueError:
            raise UserError(
                f"{where}: 'ips' has {_shown(address)}, which is no IP address: write it in digits"
            ) from None
    return tuple(found)


def _rdma(found: Any, where: str) -> tuple[Rdma, ...]:
    def device(value: Any) -> Rdma:
        if value is None or (isinstance(value, str) and value):
            return value
        if isinstance(value, list) and value and all(isinstance(one, str) and one for one in value):
            return tuple(value)
        raise UserError(f"{where}: 'rdma' has {_shown(value)}: a device is a name, a list of names, or null")

    if not isinstance(found, list):
        raise UserError(f"{where}: 'rdma' should be a list, one entry for each host")
    return tuple(map(device, found))


def _share(found: Any, where: str) -> float | None:
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < 1e9:
        raise UserError(f"{where}: 'share' is {_shown(found)}: give a number above 0, such as 65")
    return float(found)


def _path(entry: dict[str, Any], key: str, where: str) -> str | None:
    found = entry.get(key)
    if found is None:
        return None
    whole = isinstance(found, str) and found.startswith(("/", "~/")) and found.isprintable()
    if not whole:
        raise UserError(f"{where}: '{key}' is {_shown(found)}: give a whole path on that host, from / or ~/")
    return str(found)


def _envs(found: Any, source: str) -> tuple[str, ...]:
    if not isinstance(found, list):
        raise UserError(f"{source}: 'envs' should be a list such as [\"MLX_METAL_FAST_SYNCH=1\"]")
    for one in found:
        if not isinstance(one, str) or not re.fullmatch(r"[A-Za-z_]\w*=[^\n\0]*", one, re.ASCII):
            raise UserError(f"{source}: 'envs' has {_shown(one)}: write it as NAME=VALUE")
    return tuple(found)


def _refuse_unknown(found: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in found:
        if key not in known:
            near = get_close_matches(key, known, 1)
            mend = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)}"
            raise UserError(f"{where}: '{printable(key)[:40]}' is not known here: {mend}")


def _is_own(address: str) -> bool:
    """Whether an address is one of this machine's: only those can be listened at."""
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except (OSError, ValueError):
        return False
    return True


def _plain(value: Rdma) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    """A value of the file in an error, on one line and short."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
