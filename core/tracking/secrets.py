"""Secrets stay where they are: none is sent with a configuration, and none stands in an error that is written down."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|COOKIE|AUTH", re.IGNORECASE)
# Short values, such as 1 and true, stand in many a sentence.
_SHORTEST = 6
_ADDRESS = re.compile(r"(\w+://)[^\s/@]+@")
_LIKE_A_KEY = re.compile(
    r"\b(?:hf_\w{20,}|sk-[\w-]{20,}|gh[opsu]_\w{20,}|github_pat_\w{20,}|xox[abp]-[\w-]{10,}|AKIA[0-9A-Z]{16}"
    r"|wandb_v\d+_\w{20,}|dapi[0-9a-f]{32}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]+)\b"
)
# Keys of a configuration that would hold one; `api_key_env` names a variable, `max_tokens` counts.
_SECRET_KEY = re.compile(
    r"(?:^|[._])(?:api_?key|access_?key|token|secret|password|passwd|credentials?)$", re.IGNORECASE
)


def scrub(text: str, environment: Mapping[str, str] | None = None) -> str:
    """The text without the values of variables that hold secrets, and without names and passwords in addresses."""
    found = os.environ if environment is None else environment
    values = [value for name, value in found.items() if _NAMES.search(name) and len(value) >= _SHORTEST]
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, "***")
    return _LIKE_A_KEY.sub("***", _ADDRESS.sub(r"\1***@", text))


def secret_in(config: Mapping[str, Any]) -> str | None:
    """The key of a flattened configuration whose value looks like a secret."""
    for key, value in config.items():
        if not isinstance(value, str) or not value:
            continue
        if _SECRET_KEY.search(key) or _LIKE_A_KEY.search(value) or _ADDRESS.search(value):
            return key
    return None
