"""Text of a prompt or response: plain, or a chat as a list of messages; checked and brought to one form."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from core.data.jsonl import BadRow, Row, kind_of
from core.text import one_line

Message = dict[str, Any]
Text = str | list[Message]

ROLES = ("system", "user", "assistant", "tool")


class Refused(Exception):
    """Why a field cannot be used: a kind of `BadRow`, the field, and the rest of the sentence that begins with it."""

    def __init__(self, kind: str, field: str, rest: str) -> None:
        super().__init__(f"{field} {rest}")
        self.kind = kind
        self.field = field

    def row(self, row: Row) -> BadRow:
        return BadRow(row.line, self.kind, self.field, str(self), row.offset, row.length)


def text_of(value: object, field: str) -> Text:
    """The text of a field, not empty and free of half characters that no tokenizer could encode."""
    if isinstance(value, str):
        return _plain(value, field)
    if isinstance(value, list):
        if not value:
            raise Refused("empty", field, "holds no messages")
        return [_message(item, f"{field}[{index}]") for index, item in enumerate(value)]
    raise Refused("type", field, f"must be text or a list of messages, not {kind_of(value)}")


def _plain(value: str, field: str) -> str:
    if not value.strip():
        raise Refused("empty", field, "is empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Refused("encoding", field, "holds half of a character (a lone surrogate)") from None
    return value


def _message(value: object, field: str) -> Message:
    if not isinstance(value, dict):
        raise Refused("messages", field, f"must be a message with role and content, not {kind_of(value)}")
    if "role" not in value and "from" in value:
        raise Refused("messages", field, "has from and value: role and content are wanted")
    role, content = value.get("role"), value.get("content")
    if role not in ROLES:
        shown = f"'{one_line(role, 24)}'" if isinstance(role, str) else kind_of(role)
        raise Refused("messages", f"{field}.role", f"must be one of {', '.join(ROLES)}, not {shown}")
    if not isinstance(content, str):
        raise Refused("messages", f"{field}.content", f"must be text, not {kind_of(content)}")
    return {"role": role, "content": _plain(content, f"{field}.content")}


def as_messages(text: Text, role: str) -> list[Message]:
    """Plain text as a chat of one message."""
    return [{"role": role, "content": text}] if isinstance(text, str) else text


def common_turns(a: list[Message], b: list[Message]) -> int:
    """How many whole turns two conversations share from their beginning."""
    for index, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return index
    return min(len(a), len(b))


def text_key(text: Text) -> str:
    """One string for a text, the same for plain text and for a chat of one message that says it."""
    if isinstance(text, str):
        return text.strip()
    if len(text) == 1:
        return str(text[0]["content"]).strip()
    # Neither separator can stand in the other part: roles are fixed words.
    return "\x1e".join(f"{message['role']}\x1f{message['content'].strip()}" for message in text)


# 60 bits: a Python integer of that size is small, and among three million texts the chance of a collision is 4 in a
# million.
MASK = (1 << 60) - 1


def text_hash(text: str) -> int:
    """A number that stands for a text, so that a million of them fit in memory."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") & MASK
