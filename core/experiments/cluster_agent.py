"""`python -m core.experiments.cluster_agent ROOT`: what a host says of itself, one JSON line for each that it is asked.

It reads no configuration, writes nothing but its answers, and ends with its input.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from core import hardware
from core.config import this_platform
from core.errors import UserError
from core.model_folder import find_folder
from core.store.files import digest
from core.workspace import Workspace, is_workspace

# The first line of answers: what a shell says before it is none.
GREETING = {"dpotui": "cluster agent", "protocol": 1}
# Round trips for the latency of a link, and what is sent at a time for its speed.
PINGS = 20
_CHUNK = 1 << 20
# Who was told to listen does so for so long.
_LISTENS = 30.0
_COUNT = struct.Struct("<Q")

Answers = dict[str, Any]


def look(root: Path) -> Answers:
    """Versions, chip, memory, disk."""
    place = next(folder for folder in (root, *root.parents) if folder.is_dir())
    here = hardware.look(place)
    limit = hardware.memory_limit("gpu" if here.accelerator else "cpu")
    return {
        "versions": hardware.versions(),
        "code": code(),
        "python": here.python,
        "system": here.system,
        "chip": here.chip,
        "accelerator": this_platform().accelerator,
        "memory": here.memory,
        "memory_available": here.memory_available,
        "run_memory": limit.bytes,
        "disk_free": here.disk_free,
        "workspace": is_workspace(root),
        "root": str(root),
    }


def code() -> str:
    """A hash of this program's own code: versions that are called the same may differ."""
    whole = hashlib.sha256()
    folder = Path(__file__).parent.parent
    for path in sorted(folder.rglob("*.py")):
        whole.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        whole.update(path.read_bytes())
    return whole.hexdigest()


def hashes(root: Path, paths: Iterable[str]) -> Answers:
    """Of files and of model folders, also of those in the cache of the hub; None for what is not there."""
    space = Workspace(root)
    found: dict[str, str | None] = {}
    for name in paths:
        path = space.path(name)
        folder = path if path.exists() else find_folder(space, name)
        found[name] = digest(folder, _sha256) if folder is not None else None
    return {"found": found}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def ports(addresses: Iterable[tuple[str, int]]) -> Answers:
    """Which of them cannot be listened at, and why."""
    refused = []
    for address, port in addresses:
        try:
            _listener(address, port).close()
        except OSError as error:
            refused.append([address, port, error.strerror or str(error)])
    return {"refused": refused}


def _listener(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(1)
    except OSError:
        listener.close()
        raise
    return listener


def listen(address: str, token: str) -> Answers:
    """Take one sender with this token, answer its pings and count what it sends."""
    listener = _listener(address, 0)
    listener.settimeout(_LISTENS)
    threading.Thread(target=_take, args=(listener, token.encode()), daemon=True).start()
    return {"port": listener.getsockname()[1]}


def _take(listener: socket.socket, token: bytes) -> None:
    with listener:
        try:
            stream, _ = listener.accept()
            with stream:
                stream.settimeout(_LISTENS)
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if not hmac.compare_digest(_exactly(stream, len(token)), token):
                    return
                for _ in range(PINGS):
                    stream.sendall(_exactly(stream, 1))
                total = 0
                while chunk := stream.recv(_CHUNK):
                    total += len(chunk)
                stream.sendall(_COUNT.pack(total))
        except OSError:
            return  # the sender has the word


def _exactly(stream: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        more = stream.recv(count - len(found))
        if not more:
            raise ConnectionError("the other side closed the connection")
        found += more
    return found


def send(address: str, port: int, token: str, seconds: float) -> Answers:
    """Latency and speed to a listener: half of the shortest round trip, and bytes a second as they arrived."""
    with socket.create_connection((address, port), timeout=10) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.settimeout(_LISTENS)
        stream.sendall(token.encode())
        trips = []
        for _ in range(PINGS):
            began = time.perf_counter()
            stream.sendall(b".")
            _exactly(stream, 1)
            trips.append(time.perf_counter() - began)
        chunk = bytes(_CHUNK)
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            stream.sendall(chunk)
        stream.shutdown(socket.SHUT_WR)
        (total,) = _COUNT.unpack(_exactly(stream, _COUNT.size))
        took = time.perf_counter() - began
    return {"latency": min(trips) / 2, "bytes": total, "seconds": took, "bytes_per_second": total / took}


def sums(rank: int, addresses: list[list[str]], size: int, seconds: float) -> Answers:
    """Seconds of a sum over all hosts, by MLX, in a process of its own: what goes wrong there ends it alone."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as hostfile:
        json.dump(addresses, hostfile)
        hostfile.flush()
        own = os.environ | {"MLX_RANK": str(rank), "MLX_HOSTFILE": hostfile.name}
        command = [sys.executable, "-P", "-m", "core.experiments.cluster_agent", "--sum", str(size)]
        try:
            done = subprocess.run(
                command, env=own, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            return {"error": f"no sum in {seconds:.0f} s"}
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        return {"error": said[-1] if said else f"ended with status {done.returncode}"}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _sum_here(size: int) -> Answers:
    import mlx.core as mx

    mx.set_default_device(mx.Device(mx.cpu))
    group = mx.distributed.init(strict=True, backend="ring")
    values = mx.full((max(1, size // 4),), 1.0)
    mx.eval(values)
    times = []
    for _ in range(4):
        began = time.perf_counter()
        total = mx.distributed.all_sum(values, group=group)
        mx.eval(total)
        times.append(time.perf_counter() - began)
    right = bool(mx.all(total == group.size()).item())
    return {"ranks": group.size(), "bytes": values.nbytes, "seconds": min(times), "right": right}


def answer(root: Path, request: Answers) -> Answers:
    """One answer; what could not be done says so."""
    asked: dict[str, Callable[[], Answers]] = {
        "look": lambda: look(root),
        "clock": lambda: {"now": time.time()},
        "hashes": lambda: hashes(root, request["paths"]),
        "ports": lambda: ports([(address, port) for address, port in request["addresses"]]),
        "listen": lambda: listen(request["address"], request["token"]),
        "send": lambda: send(request["address"], request["port"], request["token"], request["seconds"]),
        "sum": lambda: sums(request["rank"], request["hosts"], request["bytes"], request["seconds"]),
    }
    try:
        return asked[request["ask"]]()
    except (OSError, UserError) as error:
        return {"error": str(getattr(error, "strerror", None) or error)}


def main(arguments: list[str]) -> None:
    # Libraries print what they like to what they take for standard output.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if arguments[0] == "--sum":
        print(json.dumps(_sum_here(int(arguments[1]))), file=answers, flush=True)
        return
    root = Path(arguments[0]).expanduser()
    print(json.dumps(GREETING), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(root, json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
