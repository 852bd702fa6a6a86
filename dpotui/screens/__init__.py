"""Screens of the terminal: one for each mode, and the few that are laid over them."""
