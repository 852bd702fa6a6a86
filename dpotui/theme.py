"""The colours of the program: calm, with one colour for what one may touch and few for what is said.

Words stand out from all they can stand on by at least 4.5 to 1 (`faint` among them: ages and axes are read, too); `raw`
is for lines, where 3 to 1 is enough.
"""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="dpotui-dark",
    primary="#7fa8d1",
    secondary="#9aa5bd",
    accent="#cfae70",
    foreground="#d4d8e0",
    background="#14171c",
    surface="#1a1e25",
    panel="#232831",
    success="#8fbf8a",
    warning="#dcae63",
    error="#ee8585",
    dark=True,
    variables={
        "dim": "#a5adbb",
        "faint": "#939cac",
        "raw": "#646e7e",
        "block-cursor-background": "#283241",
        "block-cursor-foreground": "#eef1f6",
        "block-cursor-text-style": "none",
        "border": "#2f3641",
        "border-blurred": "#2f3641",
        "scrollbar": "#39424f",
        "scrollbar-background": "#14171c",
        "scrollbar-corner-color": "#14171c",
        "input-cursor-background": "#d4d8e0",
        "input-selection-background": "#7fa8d1 35%",
    },
)

LIGHT = Theme(
    name="dpotui-light",
    primary="#285988",
    secondary="#4f5a70",
    accent="#75500b",
    foreground="#23272e",
    background="#f7f7f4",
    surface="#efefea",
    panel="#e3e4de",
    success="#22652f",
    warning="#7a4e06",
    error="#a82a28",
    dark=False,
    variables={
        "dim": "#4d5561",
        "faint": "#59616c",
        "raw": "#7f858b",
        "block-cursor-background": "#d3deea",
        "block-cursor-foreground": "#14171c",
        "block-cursor-text-style": "none",
        "scrollbar": "#c4c6bf",
        "scrollbar-background": "#f7f7f4",
        "scrollbar-corner-color": "#f7f7f4",
    },
)

# Where NO_COLOR is set colours become greys: here all words keep the full contrast, and only marks differ.
PLAIN = Theme(
    name="dpotui-plain",
    primary="#ffffff",
    secondary="#d0d0d0",
    accent="#ffffff",
    foreground="#e4e4e4",
    background="#000000",
    surface="#121212",
    panel="#262626",
    success="#ffffff",
    warning="#ffffff",
    error="#ffffff",
    dark=True,
    variables={
        "dim": "#c0c0c0",
        "faint": "#a8a8a8",
        "raw": "#767676",
        "block-cursor-background": "#3a3a3a",
        "block-cursor-foreground": "#ffffff",
        "block-cursor-text-style": "bold",
    },
)

# The sixteen colours of the terminal's own palette, on its own background, which may be light or dark.
ANSI = Theme(
    name="dpotui-ansi",
    ansi=True,
    primary="ansi_blue",
    secondary="ansi_cyan",
    accent="ansi_magenta",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    boost="ansi_default",
    success="ansi_green",
    warning="ansi_yellow",
    error="ansi_red",
    dark=True,
    variables={
        "ansi-background": "ansi_black",
        "ansi-foreground": "ansi_white",
        "dim": "ansi_default",
        # In some palettes the bright black is the background: lines may be of it, words not.
        "faint": "ansi_default",
        "raw": "ansi_bright_black",
        "block-cursor-background": "ansi_blue",
        "block-cursor-foreground": "ansi_bright_white",
        "block-cursor-text-style": "bold",
        "border": "ansi_bright_black",
        "border-blurred": "ansi_bright_black",
        "scrollbar": "ansi_bright_black",
        "scrollbar-background": "ansi_default",
        "scrollbar-corner-color": "ansi_default",
        "input-cursor-background": "ansi_white",
        "input-cursor-foreground": "ansi_black",
        "input-selection-background": "ansi_blue",
        "input-selection-foreground": "ansi_bright_white",
        "screen-selection-background": "ansi_blue",
        "screen-selection-foreground": "ansi_bright_white",
    },
)

THEMES = (DARK, LIGHT, PLAIN, ANSI)

# What the other themes lack.
DEFAULTS = {"dim": "#858b96", "faint": "#858b96", "raw": "#6a707a"}
