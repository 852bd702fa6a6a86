"""Widgets of the terminal: small, and without state of the workspace in them."""
