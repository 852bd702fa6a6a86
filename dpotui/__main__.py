"""`python -m dpotui` is the same as `dpotui`."""

from dpotui.cli import entry

entry()
