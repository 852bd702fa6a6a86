"""A notice on the person's own desktop, by their terminal: OSC 9, as iTerm2, kitty, WezTerm and Ghostty know it."""

from __future__ import annotations

from collections.abc import Mapping

from core.settings import Osc9
from core.text import one_line

# Terminals that would show the sequence as text.
_PLAIN = ("linux", "vt100", "vt102", "vt220", "ansi", "cons25")
_LONGEST = 120


def notice(words: str, environment: Mapping[str, str], wanted: Osc9) -> str:
    """The sequence that tells these words; "" where the terminal should not get one."""
    term = environment.get("TERM", "")
    in_tmux = "TMUX" in environment
    if wanted == "off" or (wanted == "auto" and (term in _PLAIN or (term.startswith("screen") and not in_tmux))):
        return ""
    # Words that begin with a number are commands to some terminals.
    sequence = f"\x1b]9;dpotui: {one_line(words, _LONGEST)}\x07"
    # tmux hands on what is wrapped so, where allow-passthrough is on.
    return "\x1bPtmux;" + sequence.replace("\x1b", "\x1b\x1b") + "\x1b\\" if in_tmux else sequence
