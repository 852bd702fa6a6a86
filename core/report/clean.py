"""Foreign text as a report may hold it: no escapes, no secret that looks like one, no path of this machine."""

from __future__ import annotations

import re
import time
from pathlib import Path

from core.text import ELLIPSIS, printable
from core.workspace import Workspace

# What services give as keys begins like this.
_SECRET = re.compile(
    r"(?<![A-Za-z0-9])(?:hf_|sk-|pk-|gh[opsu]_|github_pat_|glpat-|xox[abps]-|AKIA|ya29\.|Bearer\s+)[A-Za-z0-9_./+=-]{12,}"
)
_USER_IN_ADDRESS = re.compile(r"(?<=://)[^/\s@]+@")
# From the root of the file system on, at least one folder deep; not the path of an address.
_ABSOLUTE = re.compile(r"(?<![\w:/.~…])(?:/|[A-Za-z]:\\)(?:[^\s/\\:;,'\"()<>|]+[/\\])+([^\s/\\:;,'\"()<>|]*)")
_FILE_ADDRESS = re.compile(r"file://+[^\s'\"]*")
_SECRET_KEY = re.compile(r"(?:^|[._-])(?:api_?key|key|token|secret|password|passwd)$", re.IGNORECASE)
_INVISIBLE = re.compile("[\u00ad\u180e\u200b-\u200d\u2060-\u2064\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]")

HIDDEN = "[not shown]"


class Cleaner:
    """Cleans text of one workspace: its own paths are meant from its root, others keep their last part only."""

    def __init__(self, workspace: Workspace) -> None:
        roots = {str(workspace.root), str(workspace.root.resolve())}
        self._root = re.compile(
            "|".join(sorted((re.escape(root) for root in roots), key=len, reverse=True)) + r"(?=/|\b)"
        )

    def __call__(self, text: object, limit: int = 400) -> str:
        """On one line of at most so many characters."""
        words = printable(str(text)[: 8 * limit])
        words = " ".join(_INVISIBLE.sub("�", words).split())
        words = _FILE_ADDRESS.sub("[file address]", words)
        words = _USER_IN_ADDRESS.sub("", words)
        words = _SECRET.sub(HIDDEN, words)
        words = self._root.sub(".", words).replace("./", "")
        words = _ABSOLUTE.sub(lambda found: "…/" + found[1], words)
        return words if len(words) <= limit else words[: limit - 1].rstrip() + ELLIPSIS

    def path(self, path: str | Path) -> str:
        """A path as a configuration or a row of runs.db names it."""
        return self(str(path), 200)


def secret_key(name: str) -> bool:
    """Whether a key of a configuration names something that nobody else should read."""
    return _SECRET_KEY.search(name) is not None


def moment(when: float | None) -> str:
    """A time in words, in UTC wherever it is read."""
    if not when:
        return "—"
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(when))
    except (OverflowError, ValueError, OSError):
        return "—"


def span(seconds: float) -> str:
    """2:08:31."""
    whole = max(0, round(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
