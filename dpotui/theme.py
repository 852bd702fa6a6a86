"""The colours of the program: calm, with one colour for what one may touch and few for what is said."""

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
    error="#e57373",
    dark=True,
    variables={
        "dim": "#8b94a5",
        "faint": "#4d5664",
        "block-cursor-background": "#2f3a4a",
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
    primary="#2f649c",
    secondary="#59657c",
    accent="#8a5f10",
    foreground="#23272e",
    background="#f7f7f4",
    surface="#efefea",
    panel="#e3e4de",
    success="#2f7a3c",
    warning="#96610c",
    error="#b3312f",
    dark=False,
    variables={
        "dim": "#626a76",
        "faint": "#a9aeb3",
        "block-cursor-background": "#cfdbe8",
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
        "dim": "#b0b0b0",
        "faint": "#6c6c6c",
        "block-cursor-background": "#4a4a4a",
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
        "faint": "ansi_bright_black",
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
DEFAULTS = {"dim": "#858b96", "faint": "#6a707a"}
