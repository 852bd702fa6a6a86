"""The hosts file: mlx.launch's own files read, wrong ones get one line with file, entry and mend."""

from __future__ import annotations

import json
import math
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UserError
from core.experiments.hosts import Host, Hosts, parse_hosts, parse_shares, read_hosts

TWO = {"hosts": [{"ssh": "mac1", "ips": ["10.0.0.1"]}, {"ssh": "mac2", "ips": ["10.0.0.2"]}]}


def changed(number: int, **keys: object) -> dict[str, object]:
    hosts = [dict(host) for host in TWO["hosts"]]
    hosts[number] |= keys
    return {"hosts": hosts}


def test_reads_what_mlx_distributed_config_writes(tmp_path: Path) -> None:
    from mlx._distributed_utils.common import Host as TheirHost
    from mlx._distributed_utils.common import Hostfile

    theirs = Hostfile(
        [TheirHost(0, "mac1", ["10.0.0.1"], [None, "rdma_en2"]), TheirHost(1, "mac2", [], [["rdma_en3"], None])],
        "jaccl",
        ["MLX_METAL_FAST_SYNCH=1"],
    )
    file = tmp_path / "hosts.json"
    file.write_text(json.dumps(theirs.to_json()))
    found = read_hosts(file).with_backend(None, "hosts.json")
    assert found.backend == "jaccl" and found.envs == ("MLX_METAL_FAST_SYNCH=1",) and found.shares is None
    assert found.hosts[1] == Host("mac2", (), (("rdma_en3",), None))
    # And mlx.launch reads what is written from it, the keys that are ours included.
    file.write_text(json.dumps(found.as_json()))
    again = Hostfile.from_file(file)
    assert [host.rdma for host in again.hosts] == [host.rdma for host in theirs.hosts]


def test_shares_are_proportions() -> None:
    given = [{"ssh": "a", "ips": ["10.0.0.1"], "share": 65}, {"ssh": "b", "ips": ["10.0.0.2"], "share": 35}]
    assert parse_hosts(given, "f").shares == pytest.approx((0.65, 0.35))
    assert parse_shares("65/35") == parse_shares("65,35") == [65.0, 35.0]
    for wrong in ("", "65", "65,x", "65,0", "65,-1", "nan,1", "inf,1"):
        if wrong == "65":
            assert parse_shares(wrong) == [65.0]
            continue
        with pytest.raises(UserError, match="--shares"):
            parse_shares(wrong)


def test_names_tell_ranks_of_one_host_apart() -> None:
    hosts = parse_hosts([{"ssh": name} for name in ("127.0.0.1", "127.0.0.1", "mac2")], "f")
    assert hosts.names == ("127.0.0.1 (0)", "127.0.0.1 (1)", "mac2")
    assert hosts.hosts[0].here and not hosts.hosts[2].here and not hosts.all_here
    assert Host(f"me@{socket.gethostname()}").here


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([], "'hosts' should be a list of 1"),
        ({}, "has no 'hosts'"),
        ({"hosts": {}}, "'hosts' should be a list"),
        ({"hosts": ["mac1"]}, 'entry 1 is "mac1"'),
        ({"hosts": [{}]}, "entry 1 has no 'ssh'"),
        ({**TWO, "backend": "tcp"}, 'backend "tcp" is not known: it is one of ring'),
        ({**TWO, "host": []}, "'host' is not known here: did you mean 'hosts'?"),
        (changed(1, shares=1), "entry 2: 'shares' is not known here: did you mean 'share'"),
        (changed(1, ssh="-oProxyCommand=x"), "entry 2: 'ssh' .* is no name of a host"),
        (changed(1, ssh="mac 2"), "entry 2: 'ssh' .* is no name of a host"),
        (changed(1, ips=["mac2.local"]), r"entry 2 \(mac2\): 'ips' has \"mac2.local\", which is no IP address"),
        (changed(1, ips="10.0.0.2"), r"entry 2 \(mac2\): 'ips' should be a list"),
        (changed(1, share=0), r"entry 2 \(mac2\): 'share' is 0"),
        (changed(1, share=35), "entry 2 differs: give all one, or none"),
        (changed(1, cwd="workspace"), r"entry 2 \(mac2\): 'cwd' is \"workspace\": give a whole path"),
        (changed(1, rdma=["en2"]), r"entry 2 \(mac2\): 'rdma' should have 2 entries"),
        (changed(1, rdma=["en2", 5]), r"entry 2 \(mac2\): 'rdma' has 5"),
        ({**TWO, "envs": ["A B=1"]}, "'envs' has .* write it as NAME=VALUE"),
    ],
)
def test_what_is_wrong_gets_file_entry_and_mend(found: object, words: str) -> None:
    with pytest.raises(UserError, match=f"^hosts.json.*{words}") as caught:
        parse_hosts(found, "hosts.json")
    assert "\n" not in str(caught.value)


def test_a_backend_says_what_it_lacks() -> None:
    with pytest.raises(UserError, match=r"entry 1 \(a\) has no 'ips', which the ring"):
        parse_hosts([{"ssh": "a"}, {"ssh": "b"}], "f").with_backend(None, "f")
    with pytest.raises(UserError, match="0 RDMA devices for 2 hosts"):
        parse_hosts(TWO, "f").with_backend("jaccl", "f")
    assert parse_hosts([{"ssh": "a"}, {"ssh": "b"}], "f").with_backend("mpi", "f").backend == "mpi"


def test_the_first_host_has_to_be_here() -> None:
    with pytest.raises(UserError, match=r"entry 1 \(mac1\) is not this machine.*put this machine first"):
        parse_hosts([{"ssh": "mac1", "ips": ["203.0.113.7"]}], "f").first_is_here("f")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read .*mlx\.distributed_config"):
        read_hosts(tmp_path / "none.json")
    file = tmp_path / "hosts.json"
    for data, words in ((b"[\n{,", "line 2: no valid JSON"), (b"\xff\xfe", "not UTF-8"), (b"[" * 100_000, "no valid")):
        file.write_bytes(data)
        with pytest.raises(UserError, match=words):
            read_hosts(file)


_ADDRESS = st.ip_addresses().map(str)
_HOST = st.builds(
    Host,
    ssh=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9.-]{0,20}", fullmatch=True),
    ips=st.lists(_ADDRESS, max_size=3).map(tuple),
    share=st.floats(1e-3, 1e6),
    cwd=st.none() | st.from_regex(r"(~)?/[\w /.-]{0,20}", fullmatch=True).filter(str.isprintable),
)


@given(st.lists(_HOST, min_size=1, max_size=5))
def test_what_is_written_is_read_again(hosts: list[Host]) -> None:
    found = parse_hosts(json.loads(json.dumps(Hosts(tuple(hosts)).as_json())), "f")
    assert found.hosts == tuple(hosts)
    assert found.shares is not None and math.isclose(sum(found.shares), 1) and len(set(found.names)) == len(hosts)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["hosts", "ssh", "ips", "rdma", "share", "cwd", "envs", "backend", "x"]), inner
        )
    ),
    max_leaves=12,
)


@given(_JSON)
def test_any_json_is_taken_or_refused_in_one_line(found: object) -> None:
    try:
        parse_hosts(found, "hosts.json")
    except UserError as error:
        assert str(error).startswith("hosts.json") and "\n" not in str(error)
