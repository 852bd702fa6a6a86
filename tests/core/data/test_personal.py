"""Hints of personal data: what counts and what does not; masked so that nothing of it can be read."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.personal import look, mask


def kinds(text: str) -> list[str]:
    return [kind for kind, _ in look(text)]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("write to jane.roe+news@mail.example.co.uk today", "email"),
        ("(jane@example.org)", "email"),
        ("+49 30 1234567", "phone"),
        ("+12025550143", "phone"),
        ("(202) 555-0143 or later", "phone"),
        ("202-555-0143", "phone"),
        ("Phone: 030 1234567", "phone"),
        ("call me at 5551234567.", "phone"),
        ("sk-abcdefghijklmnopqrstuvwx", "key"),
        ("sk-" + "ant-" + "a1" * 15, "key"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "key"),
        ("AKIAIOSFODNN7EXAMPLE", "key"),
        ("token=hf_abcdefghijklmnopqrstuvwxyzABCDEF", "key"),
        ("xoxb-123456789012-abcdef", "key"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.c2lnbmF0dXJl", "key"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----", "key"),
        ('api_key: "9fQ2xT7bLm4ZpR8w"', "key"),
    ],
)
def test_it_is_found_once(text: str, kind: str) -> None:
    assert kinds(text) == [kind]


@pytest.mark.parametrize(
    "text",
    [
        "a@b is no address, nor is user@host",
        "2 + 2 = 4 and +3 more",
        "In 2023-11-04 it cost 1,234,567.89",
        "123456789012345",
        "192.168.100.200 and 3.14159265358979",
        "12 345 678 people; pages 100-200; 555-1234",
        "call 3 friends and 12 others",
        "sk-learn is a library, desk-abcdefghijklmnopqrstuvwx is none",
        "password = get_password_from_environment()",
        "token = self.tokenizer.next_token_or_none",
        "the secret: thisisaverylongwordwithoutdigits",
        "-----BEGIN CERTIFICATE-----",
    ],
)
def test_it_is_nothing(text: str) -> None:
    assert kinds(text) == []


def test_what_was_found_is_masked() -> None:
    text = "Ask jane.roe@mail.example.org, call +49 30 1234567, use sk-abcdefghijklmnopqrstuvwx."
    assert mask(text) == "Ask j…@m….org, call +…67 (11 digits), use sk-… (27 characters)."
    key = "a -----BEGIN PRIVATE KEY-----\nMIIEow\n-----END PRIVATE KEY----- b"
    assert "MIIE" not in mask(key)
    assert [detail for _, detail in look(text)] == ["j…@m….org", "+…67 (11 digits)", "sk-… (27 characters)"]


@settings(max_examples=60, deadline=None)
@given(st.text(), st.text())
def test_any_text_is_looked_at(before: str, after: str) -> None:
    assert "jane.roe" not in mask(f"{before} jane.roe@example.org {after}")
