"""The checklist files of a workspace."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from core.checklist.markdown import Document, parse
from core.checklist.tree import Item
from core.errors import UserError
from core.workspace import Workspace

# A checklist is read by people. Above this it is another file that went astray.
MOST_BYTES = 1_000_000


def load_documents(workspace: Workspace) -> list[Document]:
    """The checklists of a workspace, by the number in front of their names; files without items are none.

    Raises:
        UserError: no checklists, a line that cannot be read, or one id in two files.
    """
    folder = workspace.checklists
    paths = sorted(folder.glob("*.md"), key=_order) if folder.is_dir() else []
    documents = [_parsed(read_text(path), workspace.relative(path)) for path in paths]
    documents = [document for document in documents if document.root is not None]
    if not documents:
        raise UserError(f"{folder} has no checklists: 'dpotui init {workspace.root}' lays the templates again")
    first: dict[str, Item] = {}
    for document in documents:
        assert document.root is not None
        for item in document.root.walk():
            other = first.setdefault(item.id, item)
            if other is not item:
                raise UserError(
                    f"{item.file}:{max(item.line, 1)}: id '{item.id}' is that of {other.file}:{max(other.line, 1)}"
                    " too: change one in its comment '<!-- id: ... -->'"
                )
    return documents


def load_tree(workspace: Workspace) -> list[Item]:
    """The roots of the checklists, one for each file."""
    return [document.root for document in load_documents(workspace) if document.root is not None]


@lru_cache(maxsize=64)
def _parsed(text: str, name: str) -> Document:
    """The terminal looks at the files every two seconds; a page of thousands of items takes most of one to read."""
    return parse(text, name)


def read_text(path: Path) -> str:
    """A Markdown file as it is, line ends included."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > MOST_BYTES:
        raise UserError(f"{path} has {len(data)} bytes: that is no checklist")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: not UTF-8: save the file as UTF-8") from None


def _order(path: Path) -> tuple[int, str]:
    digits = path.name[: len(path.name) - len(path.name.lstrip("0123456789"))]
    return (int(digits) if digits else 10**6, path.name)
