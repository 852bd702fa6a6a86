"""Checklists: Markdown task lists as trees, ticked by people and by facts.

`load_tree` reads the files, `states` says how every item stands, the actions change what people said, `render` and
`import_files` write and read the same Markdown with ticks and values in it.
"""

from core.checklist.actions import add_evidence, needs_note, redo, set_note, set_value, tick, undo, untick
from core.checklist.exchange import Imported, import_files, render
from core.checklist.files import load_documents, load_tree
from core.checklist.find import find
from core.checklist.markdown import Document, parse
from core.checklist.sift import SOUGHT, Sought, fits, left
from core.checklist.state import Evidence, ItemState, states
from core.checklist.tree import Blank, Item, Target, by_id

__all__ = [
    "SOUGHT",
    "Blank",
    "Document",
    "Evidence",
    "Imported",
    "Item",
    "ItemState",
    "Sought",
    "Target",
    "add_evidence",
    "by_id",
    "find",
    "fits",
    "import_files",
    "left",
    "load_documents",
    "load_tree",
    "needs_note",
    "parse",
    "redo",
    "render",
    "set_note",
    "set_value",
    "states",
    "tick",
    "undo",
    "untick",
]
