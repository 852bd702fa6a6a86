"""The part 'win_rate' of an evaluation: the policy's answers against the baseline's on held-out prompts."""

from __future__ import annotations

from typing import Any

from core.config.evaluate import PreferenceValidation
from core.config.judge import Judge
from core.errors import UserError
from core.evaluation.session import Session
from core.evaluation.win_rate_answers import answer
from core.evaluation.win_rate_compared import ANSWERS, read_answers, settle
from core.evaluation.win_rate_judging import Heard, ask
from core.evaluation.win_rate_people import count_votes
from core.evaluation.win_rate_prompts import Drawn, draw_prompts
from core.evaluation.win_rate_results import NO_CATEGORY, conclude, share_words
from core.generation.verdicts import NAME as VERDICTS
from core.models.load import resolve
from core.text import printable
from core.training.prepare import SHOWN


def run(session: Session) -> None:
    """Answers, verdicts, figures and the facts eval.win_rate and eval.win_rate_length_controlled."""
    context, config = session.context, session.config
    settings = config.alignment_evaluation.preference_validation
    inputs = _reads(session, settings)
    drawn = draw(session)
    stretches = 2 if settings.judge is None else 3
    left_out = answer(session, settings, drawn.prompts, stretches)
    asked: dict[str, Any] = {
        "policy": config.model.final,
        "baseline": config.model.baseline,
        "test_set": settings.test_set,
        "prompts": len(drawn.prompts),
        "not_drawn": drawn.beyond,
        "left_out": dict(left_out),
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens,
        "seed": config.evaluation.seed,
    }
    for why, number in left_out.items():
        context.log(f"{number} of {len(drawn.prompts)} prompts are left out: {why.replace('_', ' ')}", "warning")
    if left_out.total() == len(drawn.prompts):
        raise UserError(
            f"alignment_evaluation.preference_validation: none of the {len(drawn.prompts)} prompts of"
            f" {printable(settings.test_set)} could be asked: the log says why; raise max_prompt_length, or name"
            " another test_set"
        )
    context.artifact("answers", f"{context.run.output_dir}/{ANSWERS}")
    if settings.judge is None:
        said = count_votes(context.db, context.workspace, context.run, asked, inputs)
    else:
        rows = read_answers(session.folder / ANSWERS)
        open_ = [row for row in rows if not settle(row)]
        heard = ask(session, settings.judge, open_, (2, stretches)) if open_ else None
        if heard is not None:
            context.artifact("report", f"{context.run.output_dir}/{VERDICTS}")
        judge = _told(settings.judge, heard)
        # A judge that said nothing: the few that an empty answer decided are no sample of the rest.
        counted = [] if open_ and all(row.outcome is None for row in open_) else rows
        said = conclude(context.db, context.workspace, context.run, asked, judge, rows, inputs, counted=counted)
    for line in said:
        context.log(line)


def _reads(session: Session, settings: PreferenceValidation) -> dict[str, str]:
    """Hashes of all that decides the figures."""
    model, judge = session.config.model, settings.judge
    names = [settings.test_set, model.final, model.baseline]
    if judge is not None and judge.kind != "endpoint":
        names.append(str(resolve(session.context.workspace, judge.model)))
    if judge is not None and judge.kind != "reward":
        names.append(judge.rubric_file)
    return session.reads(*names)


def draw(session: Session) -> Drawn:
    """The prompts of the test set that both models are asked."""
    settings = session.config.alignment_evaluation.preference_validation
    context, name = session.context, printable(settings.test_set)
    session.say(f"reading {name}")
    drawn = draw_prompts(
        context.workspace.path(settings.test_set),
        category_field=settings.category_field,
        limit=settings.limit,
        seed=session.config.evaluation.seed,
        shown=SHOWN,
    )
    for row in drawn.examples:
        context.log(f"left out: {name}:{row.line}: {row.reason}", "warning")
    if drawn.errors:
        kinds = ", ".join(f"{count} {kind}" for kind, count in drawn.errors.items())
        context.log(f"left out of {name}: {sum(drawn.errors.values())} rows ({kinds})", "warning")
    beside = [f"{drawn.duplicates} rows repeat one of them"] if drawn.duplicates else []
    beside += [f"{drawn.beyond} more were not drawn"] if drawn.beyond else []
    categories = sorted({prompt.category or NO_CATEGORY for prompt in drawn.prompts} - {NO_CATEGORY})
    beside += [f"{len(categories)} categories"] if categories else []
    context.log(f"{name}: {len(drawn.prompts)} different prompts{''.join('; ' + words for words in beside)}")
    return drawn


def _told(judge: Judge, heard: Heard | None) -> dict[str, Any]:
    """Who judged, and how it went."""
    words = {"reward": "the reward model", "model": "the judge", "endpoint": "the endpoint's model"}[judge.kind]
    by = f"by {words} {judge.model}"
    told: dict[str, Any] = {"kind": judge.kind, "model": judge.model, "by": by, "lines": []}
    if heard is None:
        return told
    told |= {"questions": heard.asked, "unread": heard.unread, "orders_disagree": heard.disagree}
    if heard.unread:
        told["lines"].append(f"{heard.asked - heard.unread} of {heard.asked} questions have a verdict")
    if heard.first is not None:
        share, low, high = heard.first
        told["first_position"] = {"share": share, "low": low, "high": high}
        told["lines"].append(
            f"the two orders disagree on {heard.disagree} comparisons; the answer that was read first wins"
            f" {share_words(told['first_position'], 'share')} (50 % has no pull)"
        )
    return told
