"""Files of every kind that nobody should be made to read, and what `read_pairs` says of each."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

GOOD = b'{"prompt": "What is 2 + 2?", "chosen": "4", "rejected": "5"}'


@dataclass(frozen=True)
class Case:
    """`says` is the sentence, with the name of the file as it was given; `(…)` is what the reader of Parquet says."""

    title: str
    says: str
    make: Callable[[Path], object]
    name: str = "pairs.jsonl"
    limits: dict[str, int] = field(default_factory=dict)
    needs: str | None = None


def content(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def row(**fields: object) -> Callable[[Path], object]:
    whole = {"prompt": "a", "chosen": "b", "rejected": "c"} | fields
    kept = {name: value for name, value in whole.items() if value != "-"}
    return content(json.dumps(kept).encode() + b"\n")


def broken_gzip(path: Path) -> None:
    data = bytearray(gzip.compress(b"".join(GOOD + b"\n" for _ in range(200))))
    data[-8] ^= 0xFF  # of the checksum
    path.write_bytes(data)


def cut_gzip(path: Path) -> None:
    rows = b"".join(os.urandom(40).hex().encode() + b"\n" for _ in range(20))
    path.write_bytes(gzip.compress(rows)[:20])


MESSAGE = {"role": "assistant", "content": "b"}

CASES = [
    # The file as a whole
    Case("no such file", "none.jsonl does not exist: name a JSONL file", lambda path: None, "none.jsonl"),
    Case("a folder", "data is a folder: name a JSONL file", lambda path: path.mkdir(), "data"),
    Case("a pipe (FIFO)", "pipe is a pipe, not a regular file: name a JSONL file", os.mkfifo, "pipe"),
    Case(
        "a link that leads to itself", "loop cannot be read: Too many levels of symbolic links",
        lambda path: path.symlink_to(path), "loop",
    ),
    Case("an empty file", "pairs.jsonl is empty: JSONL is wanted, one object a line", content(b"")),
    Case("blank lines only", "pairs.jsonl is empty: JSONL is wanted, one object a line", content(b"\n \r\n\t\n")),
    Case("a byte-order mark and nothing else", "pairs.jsonl is empty: JSONL is wanted, one object a line",
         content(b"\xef\xbb\xbf")),
    Case("a JSON array", "pairs.jsonl:1: this is a JSON array; JSONL is wanted, one object a line",
         content(b"[" + GOOD + b"]")),
    Case("UTF-16", "pairs.jsonl is UTF-16: save it as UTF-8", content(GOOD.decode().encode("utf-16"))),
    Case("UTF-16 without a mark", "pairs.jsonl is UTF-16: save it as UTF-8",
         content(GOOD.decode().encode("utf-16-le"))),
    Case("lines that end with CR alone",
         "pairs.jsonl ends its lines with CR alone: change them with tr '\\r' '\\n' < OLD > NEW",
         content(GOOD + b"\r" + GOOD + b"\r")),
    Case("a zip archive", "pairs.jsonl is a zip archive: unpack it first", content(b"PK\x03\x04....")),
    Case("zstd, xz, bzip2", "pairs.jsonl is compressed with zstd: unpack it first", content(b"\x28\xb5\x2f\xfd....")),
    Case("gzip that is cut off",
         "pairs.jsonl.gz is cut off: its compressed data end after 0 bytes of text: fetch it again", cut_gzip,
         "pairs.jsonl.gz"),
    Case("gzip with a wrong checksum",
         "pairs.jsonl.gz is broken gzip after 12200 bytes of text: fetch it again", broken_gzip, "pairs.jsonl.gz"),
    Case("gzip inside gzip", "pairs.jsonl.gz is compressed twice with gzip: unpack it once",
         content(gzip.compress(gzip.compress(GOOD))), "pairs.jsonl.gz"),
    Case("a gzip bomb",
         "bomb.jsonl.gz unpacks to more than 300 times its size, which no text does: unpack it yourself if it is what"
         " you want", content(gzip.compress(b"0" * (4 << 20))), "bomb.jsonl.gz", {"BOMB_BYTES": 1 << 20}),
    Case("a pickle",
         "pairs.jsonl is a Python pickle, which is never loaded: write it out as JSONL where it comes from",
         content(b"\x80\x04\x95...")),
    Case("a pointer of Git LFS", "pairs.jsonl is a pointer of Git LFS and not the data: fetch it with 'git lfs pull'",
         content(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n")),
    Case("a saved web page",
         "pairs.jsonl is a web page, perhaps of a download that failed: fetch the data itself",
         content(b"<!DOCTYPE html><html></html>")),
    Case("Parquet that is corrupt",
         "pairs.parquet is a Parquet file that cannot be read (…): fetch it again",
         content(b"PAR1\0\0\0\0\4\0\0\0PAR1"), "pairs.parquet", needs="pyarrow"),
    Case("CSV without a header",
         "pairs.csv:1: names no columns (1, 2, 3): write a first line such as prompt,chosen,rejected,chosen_score",
         content(b"1,2,3\n4,5,6\n"), "pairs.csv"),
    Case("CSV with a column twice", "pairs.csv:1: the column 'chosen' stands twice: give each its own name",
         content(b"prompt,chosen,chosen\n1,2,3\n"), "pairs.csv"),
    # Rows
    Case("bytes that are no UTF-8", "pairs.jsonl:1: not UTF-8 text (byte 0xff at column 13)",
         content(b'{"prompt": "\xff"}\n')),
    Case("half a character at the end of the file",
         "pairs.jsonl:1: not UTF-8 text: the file ends in the middle of a character",
         content(b'{"prompt": "\xe2\x82')),
    Case("text cut off in the last row", "pairs.jsonl:2: not JSON: the file ends in the middle of this row",
         content(GOOD + b"\n" + GOOD[:30])),
    Case("NUL bytes, as a crash leaves them", "pairs.jsonl:2: not JSON: 64 NUL bytes, from byte 1 of the line on",
         content(GOOD + b"\n" + bytes(64))),
    Case("no JSON", "pairs.jsonl:1: not JSON: Expecting value at column 1", content(b"prompt: a\n")),
    Case("NaN or Infinity", "pairs.jsonl:1: not JSON: NaN is not a JSON number",
         content(b'{"prompt": "a", "chosen": "b", "rejected": "c", "chosen_score": NaN}\n')),
    Case("a number of 5,000 digits",
         "pairs.jsonl:1: a number of more than 4300 digits",
         content(b'{"n": ' + b"9" * 5000 + b"}\n")),
    Case("a number beyond all floats", "pairs.jsonl:1: chosen_score must be a finite number",
         content(b'{"prompt": "a", "chosen": "b", "rejected": "c", "chosen_score": 1e999}\n')),
    Case("nested too deep", "pairs.jsonl:1: nested too deep", content(b'{"a": ' + b"[" * 100_000)),
    Case("a key that stands twice", "pairs.jsonl:1: prompt stands twice in the row",
         content(b'{"prompt": "a", "prompt": "b"}\n')),
    Case("no object", "pairs.jsonl:1: an object with fields is wanted, not the number 17", content(b"17\n")),
    Case("two rows with CR alone between them", "pairs.jsonl:2: not JSON: two rows with CR alone between them",
         content(GOOD + b"\n" + GOOD + b"\r" + GOOD + b"\n")),
    Case("a line beyond 16 MiB", "pairs.jsonl:1: more than 16777216 bytes on one line",
         content(b'"' + b"x" * (16 << 20) + b'"\n' + GOOD)),
    Case("half a character escaped (a lone surrogate)",
         "pairs.jsonl:1: chosen holds half of a character (a lone surrogate)", row(chosen="\ud800")),
    Case("a field that is missing", "pairs.jsonl:1: rejected is missing (the row has prompt, chosen)",
         row(rejected="-")),
    Case("a field that is null", "pairs.jsonl:1: chosen is null", row(chosen=None)),
    Case("a field of another type", "pairs.jsonl:1: prompt must be text or a list of messages, not the number 3",
         row(prompt=3)),
    Case("an empty response", "pairs.jsonl:1: rejected is empty", row(rejected=" \n")),
    Case("chosen and rejected the same",
         "pairs.jsonl:1: rejected is the same as chosen: there is nothing to prefer", row(rejected="b")),
    Case("one of them text, the other messages",
         "pairs.jsonl:1: rejected and chosen must both be text or both be lists of messages", row(chosen=[MESSAGE])),
    Case("messages of ShareGPT", "pairs.jsonl:1: prompt[0] has from and value: role and content are wanted",
         row(prompt=[{"from": "human", "value": "a"}])),
    Case("a role nobody knows",
         "pairs.jsonl:1: prompt[0].role must be one of system, user, assistant, tool, not 'robot'",
         row(prompt=[{"role": "robot", "content": "a"}])),
    Case("a score that is no number", "pairs.jsonl:1: chosen_score must be a number, not 'high'",
         row(chosen_score="high")),
    Case("no prompt, and conversations that begin differently",
         "pairs.jsonl:1: prompt is missing, and chosen and rejected begin with different turns",
         row(prompt="-", chosen=[{"role": "user", "content": "a"}, MESSAGE], rejected=[MESSAGE])),
    Case("a transcript of HH with an empty answer",
         "pairs.jsonl:1: rejected holds an empty turn of the assistant (turn 2 of the transcript)",
         row(prompt="-", chosen="\n\nHuman: a\n\nAssistant: b", rejected="\n\nHuman: a\n\nAssistant: ")),
    Case("transcripts of HH that part in a turn of the human",
         "pairs.jsonl:1: chosen goes on after the prompt with a turn of the user",
         row(prompt="-", chosen="\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d",
             rejected="\n\nHuman: a\n\nAssistant: b\n\nHuman: x\n\nAssistant: y")),
    Case("KTO",
         "pairs.jsonl:1: label says of one completion whether it is good (KTO): DPO wants two in one row, as chosen and"
         " rejected", row(chosen="-", rejected="-", completion="b", label=True)),
    Case("UltraFeedback with all its completions",
         "pairs.jsonl:1: completions are scored responses and no pair yet: 'dpotui data convert FILE --to ours -o OUT'"
         " makes pairs of them",
         row(prompt="-", chosen="-", rejected="-", instruction="a", completions=[{"response": "b"}])),
    Case("HelpSteer, a response a row",
         "pairs.jsonl:1: response is one of several scored ones, a row each: 'dpotui data convert FILE --to ours -o"
         " OUT' makes pairs of them", row(chosen="-", rejected="-", response="b", helpfulness=4)),
    Case("candidates",
         "pairs.jsonl:1: responses are candidates and no pair yet: 'dpotui judge' makes pairs of them",
         row(chosen="-", rejected="-", responses=["b", "c"])),
    Case("two responses, neither preferred",
         "pairs.jsonl:1: preference_strength is 0: neither response is preferred",
         row(chosen="-", rejected="-", response_1="b", response_2="c", preference_strength=0)),
    Case("CSV with too few cells in a row",
         "pairs.csv:2: 2 cells, where the first line names 3 columns", content(b"prompt,chosen,rejected\n1,2\n"),
         "pairs.csv"),
    Case("CSV with a quote that is never closed", "pairs.csv:2: not CSV: unexpected end of data",
         content(b'prompt,chosen,rejected\n"1,2,3\n4,5,6\n'), "pairs.csv"),
    Case("CSV with a list as Python prints it",
         "pairs.csv:2: chosen holds a list as Python prints it: JSON is wanted",
         content(b"prompt,chosen,rejected\n1,\"[{'role': 'user'}]\",3\n"), "pairs.csv"),
]  # fmt: skip
