"""The terminal: command line, screens and widgets of dpotui."""

__version__ = "0.1.0"
