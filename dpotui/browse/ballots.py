"""What people said of a pair, in words."""

from __future__ import annotations

from core.data.comparisons import of_pair
from core.data.messages import text_key
from core.data.pairs import Pair
from core.store import Database, open_store, votes
from core.store.votes import Tally
from core.workspace import Workspace
from dpotui.roles import Span


class Votes:
    """Standing votes by comparison, counted again when something was written. Used by one thread."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._db: Database | None = None
        self._version = -1
        self._tally: dict[str, Tally] = {}

    def close(self) -> None:
        if self._db is not None:
            self._db.close()

    def words(self, pair: Pair) -> list[Span]:
        """Nothing where nobody voted on it."""
        if self._db is None:
            self._db = open_store(self._workspace.database)
        version = self._db.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            self._version, self._tally = version, votes.tally(self._db)
        if not self._tally:
            return []
        tally = self._tally.get(of_pair(pair).key)
        if tally is None:
            return []
        # Votes name responses in the order of their texts.
        if text_key(pair.chosen) > text_key(pair.rejected):
            tally = tally.swapped()
        told = (
            (tally.first, "for chosen"),
            (tally.second, "for rejected"),
            (tally.tie, "tie"),
            (tally.reject, "reject"),
        )
        said = ", ".join(f"{count} {what}" for count, what in told if count)
        return [("votes  ", "dim"), (said, "warn" if tally.second > tally.first else "")]
