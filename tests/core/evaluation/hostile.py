"""Programs that try what generated code could: what they get is what the sandbox is worth."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from core.evaluation.sandbox import Limits, Outcome, Sandbox
from core.evaluation.sandbox_commands import Kind

# Each function tries one thing and says what it got; where it is refused it raises. `needs`: it is not tried where this
# is known not to hold, because it would succeed.
TRIES = '''
import ctypes, gc, os, resource, socket, subprocess, sys, threading

def call(number, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    got = libc.syscall(*map(ctypes.c_long, (number, *arguments)))
    if got < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return got
def frames(frame):
    while frame:
        yield frame.f_locals
        frame = frame.f_back

def network(): socket.create_connection(("127.0.0.1", {port}), 1); return "connected"
def read_home(): return open({home!r} + "/secret").read()
def read_environment(): return os.environ["DPOTUI_TEST_SECRET"]
def read_environment_of_parent(): return open("/proc/{parent}/environ").read()[:20] or "read"
def write_outside(): open({outside!r} + "/written", "w").close(); return "wrote"
def write_in_temporary_folder(): open({temporary!r} + "/written", "w").close(); return "wrote"
def kill_parent(): os.kill({parent}, 9); return "killed"
def start_process():
    if os.fork() == 0: os._exit(0)
    return "forked"
def start_thread(): threading.Thread(target=int).start(); return "started"
def start_shell(): return subprocess.check_output(["/bin/sh", "-c", "echo shell"]).decode()
def take_memory(): return len(bytearray(1 << 31))
def long_file():
    with open("long", "wb") as file: file.write(bytes(2 << 20))
    return "wrote 2 MB"
def fill_disk():
    for number in range(30):
        with open(f"part{{number}}", "wb") as file: file.write(bytes(1 << 20))
    return "wrote 30 MB"
def open_many(): return len([open("/dev/null") for _ in range(200)])
def raise_limits(): resource.setrlimit(resource.RLIMIT_CPU, (1000, 1000)); return "raised"
def read_token(): return os.read(os.open(f"/proc/{{os.getppid()}}/fd/0", os.O_RDONLY), 32).decode() or "empty"
def read_referee(): return open(f"/proc/{{os.getppid()}}/mem", "rb") and "opened"
def trace_referee():
    if ctypes.CDLL(None, use_errno=True).ptrace(16, os.getppid(), 0, 0): raise OSError(ctypes.get_errno(), "ptrace")
    return "attached"
def become_root(): os.setuid(0); return "root"
def make_namespaces():
    if ctypes.CDLL(None, use_errno=True).unshare(0x10020000): raise OSError(ctypes.get_errno(), "unshare")
    return "unshared"
def read_check():
    for space in (*frames(sys._getframe()), *(one for one in gc.get_objects() if isinstance(one, dict))):
        for name, value in list(space.items()):
            if isinstance(value, str) and "FOU" + "ND" in value: return f"{{name}}: {{value[:20]!r}}"
    raise LookupError("not in here")
def read_token_by_first_process():
    handle = call(434, 1, 0)
    return os.read(call(438, handle, 0, 0), 32)
def take_memory_of_nobody():
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    key = libc.shmget(0, 600 << 20, 0o1600)
    if key < 0: raise OSError(ctypes.get_errno(), "shmget")
    libc.shmctl(key, 0, None)
    return "600 MB"
def take_memory_by_files():
    held = []
    for _ in range(20):
        held.append(os.memfd_create("part"))
        os.write(held[-1], bytes(1 << 20))
    return "20 MB"
def fill_shared_memory():
    for number in range(30):
        with open(f"/dev/shm/dpotui-part{{number}}", "wb") as file: file.write(bytes(1 << 20))
    return "wrote 30 MB"
def reach_host(): socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM); return "a socket"
def keep_a_key(): return call(248, id(b"user") + 32, id(b"dpotui") + 32, id(b"x") + 32, 1, -3) and "kept"
def make_a_ring(): return call(425, 4, id(bytes(128)) + 32) and "made"
def signal_the_referee(): os.kill(os.getppid(), 0); return "could"
def have_a_signal_sent():
    import fcntl
    fcntl.fcntl(1, 8, os.getppid())
    return "could"
def use_sudo():
    if ctypes.CDLL(None).prctl(39, 0, 0, 0, 0) == 1: raise PermissionError("no new rights")
    return "could"
'''  # fmt: skip
NAMES = [
    line.split("(")[0].removeprefix("def ") for line in TRIES.splitlines() if line.startswith("def ") and "():" in line
]
# What would go through where the sandbox says that it does not hold is not done for the sake of a test.
NEEDS = {
    "kill_parent": "others", "fill_disk": "disk", "fill_shared_memory": "disk", "trace_referee": "referee",
    "become_root": "user",
}  # fmt: skip
# Calls of the kernel of Linux; the numbers are those of x86_64.
CALLS = (
    "make_namespaces", "take_memory_of_nobody", "take_memory_by_files", "reach_host", "keep_a_key", "make_a_ring",
    "signal_the_referee", "have_a_signal_sent", "use_sudo", "read_token_by_first_process",
)  # fmt: skip

COLLECT = """
import json
found = {{}}
for name in {names!r}:
    print(name, flush=True)
    try:
        found[name] = "GOT " + str(program(name)())
    except Exception as error:
        found[name] = type(error).__name__ + ": " + str(error)
print("FOUND" + json.dumps(found))
"""


@dataclass(frozen=True)
class Place:
    """What the programs are after."""

    home: Path
    outside: Path
    port: int
    parent: int


def tries(sandbox: Sandbox, place: Place) -> dict[str, str]:
    """What each function of TRIES gets in this sandbox."""
    import json
    import tempfile

    program = TRIES.format(
        home=str(place.home), outside=str(place.outside), port=place.port, parent=place.parent,
        temporary=tempfile.gettempdir(),
    )  # fmt: skip
    names = [name for name in NAMES if NEEDS.get(name) in (None, *sandbox.holds)]
    if not sys.platform.startswith("linux"):
        names = [name for name in names if name not in ("trace_referee", *CALLS)]
    outcome = sandbox.run(program, Limits(seconds=20), COLLECT.format(names=names))
    assert "FOUND" in outcome.output, (outcome.why, outcome.output)
    found: dict[str, str] = json.loads(outcome.output.partition("FOUND")[2])
    return found


# Each of these ends its program, or would go on for ever. The check is held to `answer() == 42`.
ENDS = {
    "endless loop": "while True: pass",
    "endless sleep": "import time\ntime.sleep(1000)",
    "stops itself": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "prints without end": "while True: print('x' * 65536)",
    "memory without end": "held = []\nwhile True: held.append(bytearray(1 << 24))",
    "fork bomb": "import os\nwhile True: os.fork()",
    "becomes a shell": "import os\nos.execv('/bin/sh', ['sh', '-c', 'echo shell; exit 0'])",
    "kills the referee": "import os\nos.kill(os.getppid(), 9)\ndef answer(): return 41",
    "stops the referee": "import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)\ndef answer(): return 41",
    "kills its group": "import os\nos.killpg(0, 9)",
    "exits with 0": "import sys\nsys.exit(0)",
    "ends with 0": "import os\nos._exit(0)",
    "exits when asked": "import os\ndef answer(): os._exit(0)",
    "closes all pipes": "import os, time\nos.closerange(0, 64)\ntime.sleep(1000)",
    "says passed": "import os\nfor fd in range(64):\n    try: os.write(fd, b'{\"token\": \"0\"}')\n"
    "    except OSError: pass",
    "answers unasked": "import os\nfor fd in range(3, 64):\n"
    "    try: os.write(fd, b'{\"loaded\": 1}\\n{\"answer\": 41}\\n')\n"
    "    except OSError: pass\ndef answer(): return 41",
    "equals everything": "class All:\n    def __eq__(self, other): return True\n    __hash__ = None\n"
    "def answer(): return All()",
    "a number that equals everything": "class All(int):\n    def __eq__(self, other): return True\n"
    "def answer(): return All(41)",
    "changes what raises": "import builtins\nbuiltins.AssertionError = None\nbuiltins.exec = print\n"
    "def answer(): return 41",
    "an answer without end": "import itertools\ndef answer(): return itertools.count()",
    "no number": "def answer(): return float('nan')",
    "a number of 100,000 digits": "def answer(): return 10 ** 100_000",
    "brackets without end": "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'[' * 60000 + b'\\n')\n"
    "    except OSError: pass\ndef answer(): return 41",
    "raises what a check raises": "def answer(): raise AssertionError",
    "folders without end": "import os\nfor number in range(10 ** 7): os.mkdir(str(number))",
    "catches what ends it": "def load():\n    while True:\n        try: bytearray(1 << 40)\n"
    "        except BaseException: pass\nload()",
    "an answer nested too deep": "def answer():\n    a = []\n    for _ in range(9999): a = [a]\n    return a",
    "a long answer": "def answer(): return 'x' * (8 << 20)",
    "raises what is no exception": "class Odd(BaseException):\n    def __str__(self): return 1\n"
    "def answer(): raise Odd",
    "deletes its folder": "import os, shutil\nshutil.rmtree(os.getcwd(), ignore_errors=True)\n"
    "def answer(): return 41",
}  # fmt: skip
# Not done where nothing bounds it.
BOUNDED_BY = {"fork bomb": "processes", "kills its group": "others"}
# They run until a limit is reached.
LONG = ("endless loop", "endless sleep", "stops itself", "closes all pipes", "catches what ends it")


def ends(sandbox: Sandbox, name: str) -> Outcome:
    quick = Limits(seconds=1.5, cpu=1) if name in LONG else Limits(seconds=20, cpu=8)
    return sandbox.run(ENDS[name], quick, "assert program('answer')() == 42, 'wrong answer'")


def table(kinds: list[Kind], place: Place) -> str:
    """What each gets under each kind, as Markdown."""
    from core.evaluation.sandbox import probe

    found = [probe(kind) for kind in kinds]
    got = [tries(sandbox, place) for sandbox in found]
    rows = ["| tried | " + " | ".join(kinds) + " |", "| --- |" + " --- |" * len(kinds)]
    for name in NAMES:
        rows.append(f"| {name.replace('_', ' ')} | " + " | ".join(one.get(name, "not tried") for one in got) + " |")
    for name in ENDS:
        cells = []
        for sandbox in found:
            needs = BOUNDED_BY.get(name)
            cells.append("not tried" if needs and needs not in sandbox.holds else ends(sandbox, name).why)
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)
