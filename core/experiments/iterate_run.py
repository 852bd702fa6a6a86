"""A run of kind `iterate`: rounds of pairs, DPO, evaluation and a decision. To be read from the top.

What a round did is in runs.db as soon as it is done, so that a run that ended anywhere goes on from there. After a
round that a person decides on the run ends as stopped: it holds no engine while somebody thinks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from core.config import IterateConfig, RunConfig
from core.errors import UserError
from core.experiments import iterate_plan as plans
from core.experiments import parts
from core.experiments.iterate_adopt import adopt, refuse_foreign
from core.experiments.iterate_data import write_pairs
from core.experiments.iterate_judgement import advise, converged, gains, signed
from core.experiments.iterate_plan import FILES, Plan, names, plan_of, read_plan
from core.experiments.weaknesses import weaknesses
from core.store import facts, iterations, runs
from core.store.facts import Fact
from core.store.iterations import Decided, Iteration
from core.store.runs import Kind, Run
from core.text import one_line, printable
from core.training.context import Context
from core.training.control import Stopped
from core.training.prepare import claim_output

# The blanks of the checklist: "Iteration 1 score" to 3.
BLANKS = (1, 2, 3)
RULE = "rule"


def run(context: Context) -> None:
    output_dir, plan = _begin(context)
    rounds = iterations.listing(context.db, context.run.id)
    while True:
        now = rounds[-1]
        if now.number and not _ended(now):
            now = _round(context, plan, now, output_dir)
            rounds[-1] = now
        if now.number:
            decided = _decided(context, plan, rounds)
            _carry_out(context, plan, rounds, decided)
            if not decided.goes_on:
                break
            before = rounds[decided.target]
        else:
            before = now
        plan = plan_of(context.run.config, _settings(context))
        rounds.append(plans.following(plan, before, now.number + 1, output_dir))
        iterations.save(context.db, rounds[-1])
    context.progress(rounds[-1].number, rounds[-1].number, "")
    _leave_blank(context, rounds)


def _begin(context: Context) -> tuple[str, Plan]:
    """The folder, and the plan: read from the files once, and from the run itself ever after."""
    config = IterateConfig.model_validate({key: value for key, value in context.run.config.items() if key != FILES})
    model_dir = config.logging.model_dir
    refuse_foreign(context.workspace.path(model_dir), model_dir)
    if FILES not in context.run.config:
        plan = read_plan(context.workspace, config)
        runs.update(context.db, context.run.id, config=plan.snapshot())
        context.run = runs.get(context.db, context.run.id)
    claim_output(context, config.logging.output_dir)
    output_dir = str(context.run.output_dir)
    plan = plan_of(context.run.config, _settings(context))
    if not iterations.listing(context.db, context.run.id):
        iterations.save(context.db, plans.start(plan, context.run.id))
        # The blanks are this run's from now on: what an earlier one wrote there is not its score.
        waiting = f"{context.run.id} has not come to it"
        facts.record(
            context.db,
            *(Fact(f"iteration.{number}.score", None, run=context.run.id, source=waiting) for number in BLANKS),
        )
    return output_dir, plan


def _ended(now: Iteration) -> bool:
    """Whether all of a round is done: it has a score, or a word on why not."""
    return now.measured or bool(now.why)


def _settings(context: Context) -> tuple[str, ...]:
    """What people set differently on the way, the newest last."""
    every = iterations.decisions(context.db, context.run.id)
    return tuple(setting for decided in every if decided.done is not None for setting in decided.settings)


# A round


def _round(context: Context, plan: Plan, now: Iteration, output_dir: str) -> Iteration:
    """All of a round: what is done already is found again."""
    context.log(
        f"iteration {now.number}: from {printable(now.policy)}, held to {printable(now.reference)}, on"
        f" {printable(now.train_file)}"
    )
    me = context.run.id
    configured = f"iteration {now.number}: policy {now.policy}, reference {now.reference}, pairs {now.train_file}"
    facts.record(context.db, Fact("iteration.config", 1.0, run=me, text=f"iteration {now.number}", source=configured))
    if plan.config.data.on_policy:
        _part(context, plan, now, "generate", plans.generate_config(plan, now, output_dir))
        _part(context, plan, now, "judge", plans.judge_config(plan, now, output_dir))
        _pairs(context, plan, now, output_dir)
    else:
        said = f"none asked for (data.on_policy: false): {now.train_file} again"
        facts.record(context.db, Fact("iteration.data", 1.0, run=me, text="not needed", source=said))
    trained = _part(context, plan, now, "dpo", plans.dpo_config(plan, now, output_dir))
    now = replace(now, dpo=trained.id, model=str(trained.output_dir))
    iterations.save(context.db, now)
    if plan.evaluate is not None:
        config = plans.evaluate_config(plan, str(now.model), now.number, output_dir)
        evaluated = _part(context, plan, now, "evaluate", config)
        found = weaknesses(context.db, context.workspace, evaluated)
        now = replace(now, evaluation=evaluated.id, weaknesses=found)
    now = _scored(context, plan, now)
    iterations.save(context.db, now)
    _record(context, plan, iterations.listing(context.db, me))
    return now


def _part(context: Context, plan: Plan, now: Iteration, kind: Kind, config: RunConfig) -> Run:
    """One run of a round, finished.

    Raises:
        UserError: it failed, or a person stopped it. Resumed, this run goes on with it.
    """
    # A person may go on beyond what was planned.
    steps = max(now.number, plan.config.iteration.max_iterations)
    context.progress(now.number - 1, steps, f"iteration {now.number}: {_DOING[kind]}")
    name = f"iteration {now.number} {kind}"
    path = plan.config.files[kind]
    done = parts.execute(context, name, kind, config, title=f"{context.run.id} {name}", config_path=path)
    if done.state == "stopped":
        context.log(f"{done.id} was stopped: resume {context.run.id} to go on with it", "warning")
        raise Stopped(leaving=False)
    if done.state != "finished":
        runs.update(context.db, context.run.id, hint=done.hint)
        raise UserError(f"iteration {now.number}: {done.id} {done.state}: {done.error or 'no word'}")
    return done


_DOING = {
    "generate": "the policy answers prompts", "judge": "its answers are judged", "dpo": "DPO",
    "evaluate": "evaluation",
}  # fmt: skip


def _pairs(context: Context, plan: Plan, now: Iteration, output_dir: str) -> None:
    """The training file of a round with fresh pairs."""
    workspace, target = context.workspace, context.workspace.path(now.train_file)
    fresh = [names(output_dir, number).fresh for number in range(1, now.number + 1)]
    earlier = []
    if plan.config.data.train_on == "all":
        earlier = [plan.dpo.data.train_file, *(name for name in fresh[:-1] if workspace.path(name).is_file())]
    held_out = [plan.dpo.data.validation_file]
    if plan.evaluate is not None:
        held_out.append(plan.evaluate.alignment_evaluation.preference_validation.test_set)
    there = [name for name in dict.fromkeys(held_out) if workspace.path(name).is_file()]
    written = write_pairs(target, workspace.path(fresh[-1]), map(workspace.path, earlier), map(workspace.path, there))
    words = f"{written.fresh} fresh pairs of the policy's own answers"
    if written.pairs > written.fresh:
        words += f" and {written.pairs - written.fresh} from before"
    if written.held_out:
        words += f"; {written.held_out} left out, their prompts are held out"
    context.log(f"{printable(now.train_file)}: {words}")
    context.artifact("data", now.train_file)
    facts.record(
        context.db,
        Fact(
            "iteration.data", 1.0, run=context.run.id, text=f"{written.fresh} pairs", n=written.pairs, source=words,
            inputs=context.inputs(now.train_file),
        ),
    )  # fmt: skip


def _scored(context: Context, plan: Plan, now: Iteration) -> Iteration:
    """The round with its score, and the limits that it broke."""
    of_dpo = facts.of_run(context.db, str(now.dpo))
    of_evaluation = facts.of_run(context.db, now.evaluation) if now.evaluation is not None else {}
    every = of_dpo | of_evaluation
    broken = []
    limit = plan.dpo.constraints.kl_target
    kl = of_dpo["dpo.kl_divergence"].value
    if kl is not None and kl > limit:
        broken.append(f"KL {kl:.3g} of iteration {now.number} is beyond {limit:g}")
    whole, most = every.get("eval.kl_divergence"), None
    if plan.evaluate is not None:
        most = plan.evaluate.quality_thresholds.kl_divergence.max
    if whole is not None and whole.value is not None and most is not None and whole.value > most:
        broken.append(f"KL {whole.value:.3g} from the first reference is beyond {most:g}")
    critical = every.get("eval.critical_regressions")
    if critical is not None and critical.value:
        broken.append(f"critical regression: {one_line(critical.text or '', 80)}")
    fact = every.get(plan.config.score.fact)
    score = fact.value if fact is not None else None
    if fact is None or score is None:
        measured = ", ".join(sorted(name for name, one in every.items() if one.value is not None))
        why = f"{plan.config.score.fact} was not measured" + (f": {fact.source}" if fact is not None else "")
        if fact is None:
            why += f"; there are {measured}"
        return replace(now, broken=tuple(broken), why=one_line(why, 600))
    return replace(
        now, score=score, low=fact.low, high=fact.high, n=fact.n, unit=fact.unit, broken=tuple(broken),
        why=one_line(fact.source, 600),
    )  # fmt: skip


def _record(context: Context, plan: Plan, rounds: Sequence[Iteration]) -> None:
    """Stage 6's facts after a round, and a line for the log."""
    me, now, fact = context.run.id, rounds[-1], plan.config.score.fact
    inputs = context.inputs(str(now.model))
    told = "; ".join(str(weak["text"]) for weak in now.weaknesses) or "none found"
    looked = plan.evaluate is not None
    number, (_, words) = f"iteration {now.number}", converged(rounds, plan.config)
    by = dict(gains(rounds, plan.config))
    compared = f", {signed(by[now.number].value)} against the last sure gain" if now.number in by else ""
    shown = "not known" if now.score is None else score_words(now)
    facts.record(
        context.db,
        Fact("iteration.metrics", float(now.measured), run=me, text=shown, source=f"{number}: {fact}", inputs=inputs),
        Fact(
            "iteration.weaknesses", 1.0 if looked else None, run=me, text=one_line(told, 120) if looked else None,
            source=f"{number}: {told}" if looked else "steps.evaluate_file is null: nothing looked for them",
            inputs=inputs,
        ),
        Fact("iteration.finished", 1.0, run=me, text=number, source=f"{now.dpo}", inputs=inputs),
        Fact(
            f"iteration.{now.number}.score", now.score, now.unit, run=me, low=now.low, high=now.high, n=now.n,
            source=f"{fact}{compared}" if now.measured else now.why, inputs=inputs,
        ),
        Fact("iteration.convergence", 1.0, run=me, text=one_line(words, 80), source=f"after {number}: {words}"),
    )  # fmt: skip
    context.log(f"{number}: {fact} {shown}{compared}; {words}")
    _draw(context, rounds)
    for weak in now.weaknesses:
        context.log(f"{number}: {weak['text']}")
    for limit in now.broken:
        context.log(f"{number}: {limit}", "warning")
    if not now.measured:
        context.log(f"{number}: {now.why}", "warning")


def _draw(context: Context, rounds: Sequence[Iteration]) -> None:
    """The rounds as metrics, by their number: what a chart is drawn from."""
    for one in rounds:
        found = {} if one.score is None else {"score": one.score}
        if one.low is not None and one.high is not None and one.low != one.high:
            found |= {"score_low": one.low, "score_high": one.high}
        for name, run, fact in (("kl_divergence", one.dpo, "dpo"), ("kl_from_start", one.evaluation, "eval")):
            kl = facts.of_run(context.db, run).get(f"{fact}.kl_divergence") if run is not None else None
            found |= {name: kl.value} if kl is not None and kl.value is not None else {}
        if found:
            context.metrics(one.number, found)


def _leave_blank(context: Context, rounds: Sequence[Iteration]) -> None:
    """Rounds that will not be say so in the checklist."""
    last = rounds[-1].number
    over = f"{context.run.id} ended with iteration {last}"
    facts.record(
        context.db,
        *(Fact(f"iteration.{n}.score", None, run=context.run.id, source=over) for n in BLANKS if n > last),
    )


def score_words(one: Iteration) -> str:
    """A score with its interval, as people read it."""
    assert one.score is not None
    unit = f" {one.unit}" if one.unit else ""
    interval = "" if one.low is None or one.high is None else f" [{one.low:.4g}, {one.high:.4g}]"
    return f"{one.score:.4g}{unit}{interval}"


# What follows


def _decided(context: Context, plan: Plan, rounds: Sequence[Iteration]) -> Decided:
    """The decision on the last round.

    Raises:
        Stopped: it is a person's, and there is none yet.
    """
    now, advice = rounds[-1], advise(rounds, plan.config)
    found = iterations.decision(context.db, context.run.id, now.number)
    if found is not None:
        return found
    said = f"{advice.choice}" + (f" to iteration {advice.target}" if advice.choice == "rollback" else "")
    if plan.config.decision.by == RULE:
        return iterations.decide(
            context.db,
            Decided(context.run.id, now.number, advice.choice, advice.target, advice.goes_on, advice.reason, RULE),
        )
    context.log(f"iteration {now.number} waits for a decision; the rule would {said}: {advice.reason}")
    hint = (
        f"iteration {now.number} waits for your decision (the rule: {said}, {advice.reason}): D in stage 6, or"
        f" 'dpotui iterate decide {context.run.id} continue|stop|rollback --note WHY'"
    )
    runs.update(context.db, context.run.id, hint=hint)
    raise Stopped(leaving=False)


def _carry_out(context: Context, plan: Plan, rounds: Sequence[Iteration], decided: Decided) -> None:
    """Let the model stand that was decided for, and say so."""
    if decided.done is not None:
        return
    target = rounds[decided.target]
    model_dir = plan.config.logging.model_dir
    adopt(context, rounds, decided, model_dir)
    named = f"iteration {target.number}" if target.number else "the start"
    words = decided.choice + (f" to {named}" if decided.choice == "rollback" else "")
    context.log(
        f"iteration {decided.number}: {words}, decided by {printable(decided.who)}: {printable(decided.reason)}"
    )
    context.log(f"{printable(model_dir)} is the model of {named}: {printable(str(target.model))}")
    me, inputs = context.run.id, context.inputs(model_dir)
    best = f"{model_dir} ({named}, {score_words(target)})" if target.score is not None else f"{model_dir} ({named})"
    facts.record(
        context.db,
        Fact("iteration.best", 1.0, run=me, text=best, source=f"{words}: {decided.reason}", inputs=inputs),
        Fact(
            "iteration.decision", 1.0, run=me, text=words, inputs=inputs,
            source=f"after iteration {decided.number}, by {decided.who}: {decided.reason}",
        ),
    )  # fmt: skip
    iterations.carried_out(context.db, decided)
