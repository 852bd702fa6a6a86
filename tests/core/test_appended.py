"""Lines that are on disk count; what was cut off does not."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.appended import Appended

LINES = st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])), max_size=8)


def opened(path: Path) -> tuple[Appended, list[tuple[int, int, bytes]]]:
    found: list[tuple[int, int, bytes]] = []
    return Appended(path, lambda *line: found.append(line)), found


@given(first=LINES, second=LINES, cut=st.integers(0, 40))
def test_whole_lines_come_back_and_a_cut_one_is_gone(
    tmp_path_factory: pytest.TempPathFactory, first: list[str], second: list[str], cut: int
) -> None:
    path = tmp_path_factory.mktemp("lines") / "lines"
    file, _ = opened(path)
    offsets = file.append(first)
    file.close()
    whole = path.read_bytes()
    assert [whole[at:].split(b"\n")[0].decode() for at in offsets] == first
    left = whole[: max(0, len(whole) - cut)]
    path.write_bytes(left)
    file, found = opened(path)
    kept = left.count(b"\n")
    assert found == [(n + 1, offsets[n], first[n].encode() + b"\n") for n in range(kept)]
    file.append(second)
    file.close()
    assert path.read_bytes().decode().split("\n") == [*first[:kept], *second, ""]


def test_it_is_its_owners_alone_and_closed_when_a_line_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    file, _ = opened(path)
    file.append(["a", "half \ud800"])
    file.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == b"a\nhalf ?\n"

    def refuse(number: int, offset: int, line: bytes) -> None:
        raise ValueError(f"{number} {offset} {line!r}")

    with pytest.raises(ValueError, match="1 0 b'a"):
        Appended(path, refuse)
    assert path.read_bytes() == b"a\nhalf ?\n"
