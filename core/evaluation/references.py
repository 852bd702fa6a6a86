"""Which model the rewards and the KL of a final model are measured against."""

from __future__ import annotations

from dataclasses import dataclass

from core.evaluation.origin import Origin, changed_since, origin
from core.evaluation.session import Session
from core.models.load import adapted
from core.text import printable


@dataclass(frozen=True, slots=True)
class Against:
    """`reference` names π_ref; None where it cannot be had, and then `why` says why. `made` is where the model is from.

    Attributes:
        words: the reference in words, for the source of a fact.
    """

    made: Origin
    reference: str | None
    words: str = ""
    why: str = ""


def against(session: Session) -> Against:
    """The reference of the final model: the one that is configured, else the one its DPO run was trained against, else
    of an adapter what it stands on.

    A reference whose files are not what that run read is none: the distance from it means nothing.
    """
    context, name = session.context, session.config.subject_model
    made = origin(context.workspace, context.db, name)
    folder = context.workspace.path(name)
    base = adapted(folder) if folder.is_dir() else None
    if (named := session.config.model.reference) is not None:
        return Against(made, named, words=f"{printable(named)} (model.reference)")
    if made.config is None or made.run is None:
        if base is None:
            return Against(made, None, why=f"its reference is not known: {made.why}")
        return Against(made, str(base), words="the model under the adapter")
    reference = made.config.model.reference_model
    path = context.workspace.path(reference)
    if path.exists():
        changed = list(changed_since(made.run, context.inputs(str(path))))
        if changed:
            why = f"{printable(reference)}, the reference of {made.run.id}, changed since that run read it"
            return Against(made, None, why=f"{why}: put back what was there, or train anew")
    elif reference.split("/")[0] in ("checkpoints", "models", "outputs") or reference.startswith((".", "/", "~")):
        return Against(made, None, why=f"{printable(reference)}, the reference of {made.run.id}, is gone")
    return Against(made, reference, words=f"{printable(reference)} (of {made.run.id})")
