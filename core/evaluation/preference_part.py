"""The part 'preference' of an evaluation."""

from __future__ import annotations

from core.evaluation.session import Session


def run(session: Session) -> None:
    raise NotImplementedError
