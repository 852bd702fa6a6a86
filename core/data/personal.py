"""Hints of what is somebody's own: e-mail addresses, telephone numbers, keys. Masked at once, never kept as they are.

- E-mail: a local part, @, and a domain with a dot and an ending of letters.
- Telephone: +, a country code and 7 to 14 more digits; ten digits grouped as (555) 123-4567 or 555-123-4567; or seven
  digits and more right after a word such as phone, tel or call. Bare digits are no number.
- Keys: the formats that issuers document (OpenAI and Anthropic sk-, GitHub ghp_ and github_pat_, AWS AKIA, Google
  AIza, Slack xox, GitLab glpat-, Hugging Face hf_, Stripe sk_live_), JSON web tokens, private keys in PEM; and 16
  characters or more with letters and digits that are assigned to a password, secret, token or API key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from core.data.hints import Hints

_EMAIL = re.compile(r"(?<![\w.%+-])[A-Za-z0-9][\w.%+-]*@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,24}(?![\w@])", re.ASCII)
_PHONE = re.compile(
    r"(?<![\w+.])\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d(?:[ .-]?\d){6,13}(?![\w%])"
    r"|(?<![\w.+/-])(?:\+?1[ .-])?(?:\(\d{3}\) ?|\d{3}[-.])\d{3}[-.]\d{4}(?![\w.-]*\d)",
    re.ASCII,
)
_AFTER_WORD = re.compile(
    r"\b(?:phone|telephone|tel|mobile|cell|fax|whatsapp|call)\b[^\w\n+(]{0,4}(?:number|no|at|me at|us at)?"
    r"[^\w\n+(]{0,4}(\+?\(?\d[\d ().-]{5,18}\d)(?!\w)",
    re.ASCII,
)
# Looked for first, because they are quick.
_DIGITS = re.compile(r"[0-9+](?:(?<=\+)[0-9]|\)|[0-9]{2}[-.][0-9])")
_CALLS = Hints("phone", "tel", "mobile", "cell", "fax", "whatsapp", "call")
_RUN = re.compile(r"[0-9][0-9 ().-]{5,18}[0-9]")
_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:sk-(?:ant-|proj-)?[A-Za-z0-9_-]{20,}|sk_live_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{36}"
    r"|github_pat_\w{40,}|(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Z])|AIza[\w-]{35}|xox[abprs]-[A-Za-z0-9-]{10,}"
    r"|glpat-[\w-]{20}|hf_[A-Za-z0-9]{30,}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,})"
    r"|-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----",
    re.ASCII,
)
_KEY_HINTS = Hints(
    *("sk-", "sk_live_", "hp_", "ho_", "hu_", "hs_", "hr_", "github_pat_"),
    *("AKIA", "ASIA", "AIza", "xox", "glpat-", "hf_", "eyJ", "PRIVATE KEY"),
    by="_",
)
_ASSIGNED = re.compile(
    r"(?i:password|passwd|secret|token|api[_-]?key)[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?P<value>[A-Za-z0-9_+/=.~-]{16,})",
    re.ASCII,
)
_SECRETS = Hints("password", "passwd", "secret", "token", "api_key", "api-key", "apikey")


def look(text: str) -> Iterator[tuple[str, str]]:
    """Kinds of finding in a text, each with what was found, masked."""
    for kind, start, end in spans(text):
        yield kind, _masked(kind, text[start:end])


def may_hold(text: str) -> bool:
    """Whether it is worth a look; of several texts in one, whether one of them is."""
    low = text.lower()
    return (
        "@" in text
        or _DIGITS.search(text) is not None
        or _KEY_HINTS.stand_in(text)
        or _SECRETS.stand_in(low)
        or (_CALLS.stand_in(low) and _RUN.search(low) is not None)
    )


def mask(text: str) -> str:
    """The text with all that was found masked."""
    at, parts = 0, []
    for kind, start, end in sorted(spans(text), key=lambda span: span[1:]):
        if start >= at:
            parts += [text[at:start], _masked(kind, text[start:end])]
            at = end
    return "".join([*parts, text[at:]])


def spans(text: str) -> Iterator[tuple[str, int, int]]:
    """Kind, begin and end of each."""
    if "@" in text:
        for found in _EMAIL.finditer(text):
            yield "email", found.start(), found.end()
    low = text.lower()
    seen = set()
    if _DIGITS.search(text):
        for found in _PHONE.finditer(text):
            seen.add(found.end())
            yield "phone", found.start(), found.end()
    # Lower-casing can change the length of a text; then places in it are not those of the text.
    if len(low) == len(text) and _CALLS.stand_in(low) and _RUN.search(low):
        for found in _AFTER_WORD.finditer(low):
            if found.end(1) not in seen and 7 <= sum(map(str.isdigit, found[1])) <= 15:
                yield "phone", found.start(1), found.end(1)
    if _KEY_HINTS.stand_in(text):
        for found in _KEY.finditer(text):
            # A key in PEM goes on to its end.
            end = text.find("-----END", found.end()) if found[0].startswith("-----") else -1
            yield "key", found.start(), max(found.end(), end)
    if _SECRETS.stand_in(low):
        for found in _ASSIGNED.finditer(text):
            value = found["value"]
            if _drawn(value) and not _KEY.match(value):
                yield "key", found.start("value"), found.end("value")


def _drawn(value: str) -> bool:
    """Whether it looks drawn by lot: digits and letters, many different ones, no words with dots."""
    return (
        any(map(str.isdigit, value))
        and any(map(str.isalpha, value))
        and len(set(value)) >= 10
        and not re.search(r"[a-z]{7}|\.\w+\.|_", value)
    )


def _masked(kind: str, value: str) -> str:
    if kind == "email":
        local, _, domain = value.partition("@")
        return f"{local[0]}…@{domain[0]}….{domain.rpartition('.')[2]}"
    if kind == "phone":
        digits = [character for character in value if character.isdigit()]
        return f"{'+' if value.startswith('+') else ''}…{''.join(digits[-2:])} ({len(digits)} digits)"
    if value.startswith("-----"):
        return "-----BEGIN … PRIVATE KEY-----"
    return f"{value[:3]}… ({len(value)} characters)"
