"""Splits: by seed, whole groups, byte for byte, and nothing on two sides."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from core.data import splits
from core.data.leaks import shared_prompts
from core.data.manifest import manifest_path, read_manifest
from core.data.pairs import Pair, read_pairs
from core.data.splits import Split, split, split_facts
from core.errors import UserError

WORDS = [a + b for a in ("ba", "co", "di", "fu", "ge", "hy") for b in ("lo", "mi", "na", "pe", "ru", "st")]


def sentence(rng: random.Random, count: int = 12) -> str:
    return " ".join(rng.choices(WORDS, k=count))


def write(path: Path, prompts: list[Any]) -> Path:
    # Spelled as no writer of ours would, to see that rows are copied and not written anew.
    rows = (
        f'{{"chosen":"\\u0041 {n}",  "prompt":{json.dumps(prompt)}, "rejected":"b", "x": [1.0e0]}}\r\n'
        for n, prompt in enumerate(prompts)
    )
    path.write_bytes("".join(rows).encode())
    return path


def families(seed: int, count: int = 150) -> list[str]:
    """Prompts, some of them again and some of them nearly."""
    rng = random.Random(seed)
    prompts = []
    for _ in range(count):
        text = sentence(rng, 20)
        for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
            prompts.append(text if rng.random() < 0.5 else text.upper() + ".")
            if rng.random() < 0.3:
                prompts.append(f"{text} {rng.choice(WORDS)}")
    rng.shuffle(prompts)
    return prompts


def targets(folder: Path, validation: float = 0.2, test: float = 0.0) -> list[tuple[str, Path, float]]:
    found = [("train", folder / "train.jsonl", 1 - validation - test)]
    found.append(("validation", folder / "val.jsonl", validation))
    if test:
        found.append(("test", folder / "test.jsonl", test))
    return found


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")[:-1]


@pytest.mark.parametrize("test", [0.0, 0.1])
def test_every_row_goes_to_one_side_as_it_was(tmp_path: Path, test: float) -> None:
    prompts = families(1)
    source = write(tmp_path / "pairs.jsonl", prompts)
    done = split(source, targets(tmp_path / "out", 0.2, test), seed=3)
    whole = [line.rstrip(b"\r") for line in lines(source)]
    parts = [lines(part.path) for part in done.parts]
    assert sorted(line for part in parts for line in part) == sorted(whole)
    for part in parts:
        assert part == [line for line in whole if line in set(part)]  # the order of the file
    assert [part.pairs for part in done.parts] == [len(part) for part in parts]
    for part in done.parts:
        assert part.pairs == pytest.approx(part.wanted * len(prompts), abs=1)
    assert done.leaks.exact == done.leaks.near == 0 and done.leaks.complete
    manifest = read_manifest(done.parts[0].path)
    assert manifest is not None and manifest.notes == {"leaks": "searched exactly"}
    assert shared_prompts([part.path for part in done.parts]).near == 0
    assert done.groups < done.prompts < done.pairs
    for part in done.parts:
        manifest = read_manifest(part.path)
        assert manifest is not None and manifest.sha256 == part.sha256
        assert manifest.counts["prompts_shared"] == manifest.counts["near_duplicate_prompts_shared"] == 0
        assert manifest.counts["pairs"] == part.pairs and manifest.parameters["part"] == part.name
        assert [path for path, _ in manifest.parents] == ["../pairs.jsonl"]


def test_the_seed_decides_and_nothing_else(tmp_path: Path) -> None:
    source = write(tmp_path / "pairs.jsonl", families(2))

    def made(folder: str, seed: int) -> list[bytes]:
        done = split(source, targets(tmp_path / folder), seed=seed)
        return [p.read_bytes() for part in done.parts for p in (part.path, manifest_path(part.path))]

    first = made("a", 1)
    assert made("b", 1) == first
    assert made("a", 2) != first
    assert made("a", 1) == first


def test_a_chat_and_its_plain_text_are_one_prompt(tmp_path: Path) -> None:
    rng = random.Random(4)
    texts = [sentence(rng) for _ in range(20)]
    chat = [[{"role": "user", "content": text}] for text in texts]
    path = tmp_path / "pairs.jsonl"
    answers = {"chosen": [{"role": "assistant", "content": "a"}], "rejected": [{"role": "assistant", "content": "b"}]}
    rows = [{"prompt": prompt, **answers} for prompt in texts + chat]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = split(path, targets(tmp_path), seed=1)
    assert done.prompts == 20 and done.largest == 2 and done.leaks.exact == 0


def test_a_group_larger_than_a_part_stays_whole_and_is_told(tmp_path: Path) -> None:
    rng = random.Random(5)
    done = split(
        write(tmp_path / "p.jsonl", ["Tell me."] * 60 + [sentence(rng) for _ in range(40)]), targets(tmp_path), seed=1
    )
    assert done.parts[1].pairs == 20 and done.largest == 60
    assert done.notes == ["the largest group has 60 pairs, more than the 20.0% asked for validation: it stays whole"]
    only = split(write(tmp_path / "q.jsonl", ["Tell me."] * 60 + ["Go away."] * 50), targets(tmp_path), seed=1)
    assert [part.pairs for part in only.parts] == [60, 50]


@pytest.mark.parametrize("test", [0.0, 0.2])
def test_too_few_groups_are_refused(tmp_path: Path, test: float) -> None:
    source = write(tmp_path / "p.jsonl", ["Tell me."] * 5 + (["Go."] if test else []))
    with pytest.raises(UserError, match="cannot be dealt into"):
        split(source, targets(tmp_path, 0.2, test), seed=1)
    assert [path.name for path in tmp_path.iterdir()] == ["p.jsonl"]


def test_as_many_groups_as_parts_give_one_to_each(tmp_path: Path) -> None:
    done = split(write(tmp_path / "p.jsonl", ["One", "Two", "Three"]), targets(tmp_path, 0.4, 0.4), seed=1)
    assert [part.pairs for part in done.parts] == [1, 1, 1]


def test_what_is_no_pair_is_refused_with_the_way_to_mend_it(tmp_path: Path) -> None:
    source = write(tmp_path / "p.jsonl", ["One", "", "Three"])
    with pytest.raises(UserError, match=r"p\.jsonl:2: prompt is empty: .*--fix"):
        split(source, targets(tmp_path), seed=1)


def test_the_source_is_not_written_over(tmp_path: Path) -> None:
    source = write(tmp_path / "train.jsonl", ["One", "Two"])
    before = source.read_bytes()
    with pytest.raises(UserError, match="is the file that is read"):
        split(source, targets(tmp_path), seed=1)
    twice = [("train", tmp_path / "a.jsonl", 0.8), ("validation", tmp_path / "a.jsonl", 0.2)]
    with pytest.raises(UserError, match="written twice"):
        split(source, twice, seed=1)
    assert source.read_bytes() == before


def test_what_minhash_misses_is_found_and_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "near_duplicates", lambda *_, **__: {})  # it misses everything
    done = split(write(tmp_path / "p.jsonl", families(6)), targets(tmp_path), seed=2)
    assert done.leaks.near == 0
    assert shared_prompts([part.path for part in done.parts]).near == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "p.jsonl",
        "train.jsonl",
        "train.jsonl.manifest.json",
        "val.jsonl",
        "val.jsonl.manifest.json",
    ]


def test_what_is_found_afterwards_joins_whole_groups() -> None:
    group_of = [0, 1, 0, 3, 1, 5]
    splits._join(group_of, [(2, 4), (5, 3), (4, 2)])
    assert group_of == [0, 0, 0, 3, 0, 3]


def test_gzip_becomes_plain_rows(tmp_path: Path) -> None:
    import gzip

    plain = write(tmp_path / "p.jsonl", families(7, 30))
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    a = split(plain, targets(tmp_path / "a"), seed=1)
    b = split(tmp_path / "p.jsonl.gz", targets(tmp_path / "b"), seed=1)
    assert [part.sha256 for part in a.parts] == [part.sha256 for part in b.parts]
    assert all(isinstance(row, Pair) for part in b.parts for row in read_pairs(part.path))


def test_the_facts(tmp_path: Path) -> None:
    done: Split = split(write(tmp_path / "p.jsonl", families(8)), targets(tmp_path), seed=1)
    share, leaks = split_facts(done, {"data/train.jsonl": "0"})
    assert share.name == "data.validation_share" and share.value == done.parts[1].pairs / done.pairs
    assert (leaks.name, leaks.value, leaks.n) == ("data.leaks", 0.0, done.prompts)
    assert share.inputs == leaks.inputs == {"data/train.jsonl": "0"}
