"""Gradient norms by layer and module, measured at the next step when a person asks."""

from __future__ import annotations

from dpotui.screens.dialogs import CardScreen


class GradientsScreen(CardScreen):
    def __init__(self, run: str) -> None:
        super().__init__(f"Gradients of {run}", [])
