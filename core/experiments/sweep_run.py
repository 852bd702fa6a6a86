"""A run of kind `sweep`: draws trials, executes each as a run of its own, and learns from how it went.

runs.db is the truth: a trial stands there before it begins, and Optuna's study is made to say the same.
"""

from __future__ import annotations

import json
import math
import re
from functools import partial
from pathlib import Path
from typing import Any

from core.config import DPOConfig
from core.config.load import problems
from core.config.sweep import SweepConfig
from core.config.sweep_distributions import said
from core.config.sweep_keys import applied, key_of, set_keys
from core.engine.client import submit
from core.errors import UserError
from core.experiments import parts
from core.experiments.sweep_bands import judge
from core.experiments.sweep_metric import AFTERWARDS, Measure, measure_of
from core.experiments.sweep_plan import MARGINS
from core.experiments.sweep_standing import best_of, evaluation_name, trial_name
from core.store import engines, facts, metrics, runs, trials
from core.store.facts import Fact
from core.store.runs import Run
from core.store.trials import Trial
from core.training.checkpoints import METRICS
from core.training.context import Context
from core.training.prepare import claim_output

# Trials in a row that end for a reason that does not lie in their values: the next ones would, too.
IN_A_ROW = 3
# An engine that was gone so often in one trial is taken to be gone because of it.
LOSSES = 2
# What a run says that had not enough memory: what it raised itself, or what is said of an engine that is gone.
_MEMORY = re.compile(r"out of memory\b|.*likely for lack of memory|the GPU gave up")
_NUMBERS = re.compile(r"step \d+: the (gradient|validation loss) is|the model gives no numbers")
# Keys whose larger values take more memory: what ran out of it is not tried again, nor more.
_SIZES = ("training.batch_size", "training.batch_tokens")


def ran_out(run: Run) -> bool:
    """Whether a run ended for lack of memory, as far as that is known."""
    return run.error is not None and _MEMORY.match(run.error) is not None


def run(context: Context) -> None:
    Conductor(context).run()


class Conductor:
    """One sweep from its first trial, or the one it stopped in, to its end."""

    def __init__(self, context: Context) -> None:
        self.context, self.db, self.id = context, context.db, context.run.id
        self.config = SweepConfig.model_validate(context.run.config)
        self.file = self.config.asked
        self.metric = self.file.metric or MARGINS
        measure = measure_of(self.metric.name)
        assert isinstance(measure, Measure)
        self.measure = measure
        self.keys = {parameter.name: key_of(parameter.path)[0] for parameter in self.file.parameters}
        self.kl_limit = self.config.base.constraints.kl_target
        self.base = self.config.base.model_dump(mode="json")
        self.folder: Path = claim_output(context, f"outputs/{self.id}")
        # Trials that were over when it began or went on: they say nothing of what is wrong now.
        self.before = sum(trial.ended is not None for trial in trials.of_sweep(self.db, self.id))

    def run(self) -> None:
        from core.experiments.sweep_study import Study

        context = self.context
        context.set_steps(self.config.trials)
        self.say("preparing")
        study = Study(
            self.folder / "optuna.db", self.file, self.config.base.training.seed, self.config.trials, self.kl_limit
        )
        try:
            found = trials.of_sweep(self.db, self.id)
            if study.match(found) and found:
                context.log("Optuna's study did not say what runs.db does: it was made anew", "warning")
            while True:
                parts.leave_if_asked(context)
                found = trials.of_sweep(self.db, self.id)
                trial = next((each for each in found if each.state == "running"), None)
                if trial is None:
                    if self.ended(found):
                        break
                    drawn = study.draw(len(found) + 1, partial(self.refuse, found))
                    if drawn is None:
                        context.log("every combination that may be tried was tried")
                        break
                    trial = self.begin(drawn, study.parameters(drawn))
                self.conduct(trial)
                found = trials.of_sweep(self.db, self.id)
                study.match(found)
                trials.keep_importances(self.db, self.id, study.importances(), len(found))
        finally:
            study.close()
        self.finish(trials.of_sweep(self.db, self.id))

    def say(self, words: str, done: int | None = None) -> None:
        found = len([t for t in trials.of_sweep(self.db, self.id) if t.ended]) if done is None else done
        self.context.progress(found, self.config.trials, words)

    # What comes next

    def ended(self, found: list[Trial]) -> bool:
        """Whether no trial follows."""
        best = self.best(found)
        if best is not None and self.metric.target is not None and best.value is not None:
            reached = best.value == self.metric.target or self.metric.better(best.value, self.metric.target)
            if reached and best.kl is not None and best.kl <= self.kl_limit:
                self.context.log(f"trial {best.number} reached the target {self.metric.target:g}: no trial follows")
                return True
        self.give_up(found)
        return len(found) >= self.config.trials

    def give_up(self, found: list[Trial]) -> None:
        """
        Raises:
            UserError: the last trials failed one after the other, and not for what was drawn for them.
        """
        last = found[self.before :][-IN_A_ROW:]
        foreign = [t for t in last if t.state == "failed" and not _NUMBERS.match(t.reason)]
        if len(foreign) < IN_A_ROW or len({_bare(t.reason) for t in foreign}) > 1:
            return
        raise UserError(
            f"{IN_A_ROW} trials in a row failed for the same reason, so others would too: {last[-1].reason}"
        )

    def refuse(self, found: list[Trial], parameters: dict[str, Any]) -> str:
        """Why a trial is not begun with these parameters; empty where it may be."""
        keys = self.of(parameters)
        for trial in found:
            if trial.parameters == parameters:
                return f"trial {trial.number} had the same parameters"
            for key in _SIZES:
                size, tried = keys.get(key), trial.keys.get(key)
                if trial.state == "out of memory" and _larger(size, tried):
                    return f"{key} {tried} ran out of memory in trial {trial.number}"
        return ""

    def of(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Parameters as keys of the configuration."""
        return set_keys(self.base, {self.keys[name]: value for name, value in parameters.items()})

    def begin(self, drawn: dict[str, Any], parameters: dict[str, Any]) -> Trial:
        trial = trials.begin(self.db, self.id, drawn=drawn, parameters=parameters, keys=self.of(parameters))
        words = ", ".join(f"{name} {said(value)}" for name, value in trial.keys.items())
        self.context.log(f"trial {trial.number} of {self.config.trials}: {words}")
        return trial

    # One trial

    def conduct(self, trial: Trial) -> None:
        """Execute a trial, or what is left of it, and write down how it ended."""
        number = trial.number
        best = self.best(trials.of_sweep(self.db, self.id))
        so_far = "" if best is None else f", best {self.shown(best.value)} (trial {best.number})"
        self.say(f"trial {number} of {self.config.trials}{so_far}", number - 1)
        found = next((run for run in runs.parts(self.db, self.id) if run.part == trial_name(number)), None)
        if found is not None and (trial := self.look_back(trial, found)).ended:
            return
        values = applied(self.base, {self.keys[name]: value for name, value in trial.parameters.items()})
        values["logging"] |= {"output_dir": f"{self.context.run.output_dir}/trial-{number:03d}", "wandb_run_name": None}
        # Twelve trials of a large model must not fill the disk: the newest checkpoint and the best one are kept.
        values["training"]["save_total_limit"] = 1
        wrong = problems(DPOConfig, values)
        if wrong:
            why = "; ".join(f"{'.'.join(map(str, path))}: {sentence}" for path, sentence in wrong)
            self.over(trial, "refused", f"the configuration refuses it: {why}")
            return
        title = f"{self.context.run.name} trial {number}"
        config = DPOConfig.model_validate(values)
        if found is None:
            made = submit(
                self.context.workspace, self.db, "dpo", config, name=title, part_of=self.id, part=trial_name(number)
            )
            trial = trials.update(self.db, trial, run=made.id)
        ended = parts.execute(self.context, trial_name(number), "dpo", config, title=title, prune=self.watch(trial))
        self.judge(trials.get(self.db, self.id, number), ended)

    def look_back(self, trial: Trial, found: Run) -> Trial:
        """What became of a trial that began before: one that its engine did not survive may be over."""
        if trial.run is None:
            trial = trials.update(self.db, trial, run=found.id)
        if found.state != "interrupted":
            return trial
        if ran_out(found):
            return self.lost(trial, found, "out of memory", str(found.error))
        gone = found.engine is not None and engines.get(self.db, found.engine).ended is None
        if gone:
            trial = trials.update(self.db, trial, losses=trial.losses + 1)
        if trial.losses >= LOSSES:
            return self.lost(trial, found, "failed", f"the engine was gone without a word {trial.losses} times in it")
        return trial

    def lost(self, trial: Trial, found: Run, state: trials.State, why: str) -> Trial:
        runs.update(self.db, found.id, state="failed", error=why)
        return self.over(trial, state, why)

    def watch(self, trial: Trial) -> Any:
        """Hears of each evaluation of a trial: keeps it, and says whether the trial ends there."""
        number = trial.number

        def prune(step: int, evaluation: dict[str, float]) -> str:
            value = evaluation.get(self.measure.name)
            if self.measure.source != "evaluation" or value is None or not math.isfinite(value):
                return ""
            now = trials.get(self.db, self.id, number)
            kept = {**dict(now.evaluations), step: value}
            evaluations = sorted(kept.items())
            now = trials.update(self.db, now, evaluations=evaluations)
            if self.file.hyperband is None:
                return ""
            others = [
                [each for _, each in other.evaluations]
                for other in trials.of_sweep(self.db, self.id)
                if other.number != number
            ]
            why = judge(self.file.hyperband, self.metric.goal, [each for _, each in evaluations], others)
            if why:
                # Before the run ends: an engine that is killed between the two must not let it go on.
                trials.update(self.db, now, reason=f"stopped early: {why}")
            return f"stopped early by {self.id}: {why}" if why else ""

        return prune

    def judge(self, trial: Trial, ended: Run) -> None:
        """Write down how a trial ended, after the evaluation that its metric needs."""
        if ended.state == "stopped":
            pruned = trial.reason.startswith("stopped early")
            runs.update(self.db, ended.id, hint=trial.reason if pruned else None)
            self.over(trial, "pruned" if pruned else "stopped", trial.reason or "stopped by a person")
            return
        if ended.state != "finished":
            self.over(trial, "out of memory" if ran_out(ended) else "failed", str(ended.error))
            return
        if self.measure.source == "afterwards":
            evaluated = self.evaluate(trial, ended)
            if evaluated.state != "finished":
                why = evaluated.error or f"{evaluated.id} was stopped"
                self.over(trial, "stopped" if evaluated.state == "stopped" else "failed", f"its evaluation: {why}")
                return
            value, why = self.fact(evaluated, self.measure.name)
        else:
            value, why = self.measured(ended)
        kl = facts.of_run(self.db, ended.id).get("dpo.kl_divergence")
        if value is None or not math.isfinite(value):
            self.over(trial, "failed", why or f"{self.measure.name} is no number")
            return
        self.over(trial, "complete", "", value=value, kl=None if kl is None else kl.value)

    def evaluate(self, trial: Trial, ended: Run) -> Run:
        """The evaluation of what a trial handed over."""
        assert self.config.evaluate is not None
        plain = self.config.evaluate.model_dump(mode="json")
        plain["model"]["final"] = ended.output_dir
        plain["evaluation"] |= {"subject": "final", "parts": [AFTERWARDS[self.measure.name]]}
        plain["logging"]["output_dir"] = f"{ended.output_dir}/evaluation"
        config = type(self.config.evaluate).model_validate(plain)
        return parts.execute(
            self.context, evaluation_name(trial.number), "evaluate", config,
            title=f"{self.context.run.name} {evaluation_name(trial.number)}",
        )  # fmt: skip

    def measured(self, ended: Run) -> tuple[float | None, str]:
        """The metric of a finished trial, or why there is none."""
        if self.measure.source == "fact":
            return self.fact(ended, self.measure.name)
        if self.measure.source == "training":
            last = metrics.tail(self.db, ended.id, self.measure.name, 1)
            return (last[-1].value if last else None), f"it reported no {self.measure.name}"
        name = "kl_divergence_chosen" if self.measure.name == "kl_divergence" else self.measure.name
        path = self.context.workspace.path(f"{ended.output_dir}/{METRICS}")
        try:
            value = json.loads(path.read_text("utf-8")).get(name)
        except (OSError, ValueError, AttributeError) as error:
            return None, f"{path.name} of {ended.id} cannot be read ({error})"
        return (float(value) if isinstance(value, int | float) else None), f"{path.name} has no {name}"

    def fact(self, of: Run, name: str) -> tuple[float | None, str]:
        known = facts.of_run(self.db, of.id).get(name)
        if known is None:
            return None, f"{of.id} did not measure {name}"
        return known.value, f"{name} of {of.id} is unknown: {known.source}"

    def over(self, trial: Trial, state: trials.State, reason: str, **columns: Any) -> Trial:
        """Write down the end of a trial, and say it."""
        trial = trials.end(self.db, trial, state, reason, **columns)
        if state != "complete":
            self.context.log(f"trial {trial.number} {state}: {reason}", "info" if state == "pruned" else "warning")
            return trial
        best = self.best(trials.of_sweep(self.db, self.id))
        words = f"trial {trial.number}: {self.measure.asked} {self.shown(trial.value)}"
        if trial.kl is not None:
            beyond = f" beyond the limit {self.kl_limit:g}" if trial.kl > self.kl_limit else ""
            words += f", KL {trial.kl:.3g}{beyond}"
        is_best = best is not None and best.number == trial.number
        self.context.log(words + (", the best so far" if is_best else ""))
        assert trial.value is not None
        self.context.metrics(
            trial.number,
            {"trial_value": trial.value} | ({} if best is None or best.value is None else {"best_value": best.value}),
        )
        return trial

    # The end

    def best(self, found: list[Trial]) -> Trial | None:
        return best_of(found, self.metric, self.kl_limit)

    def shown(self, value: float | None) -> str:
        return "—" if value is None else f"{value:.4g}{' %' if self.measure.unit else ''}"

    def finish(self, found: list[Trial]) -> None:
        """
        Raises:
            UserError: no trial gave a value.
        """
        best = self.best(found)
        counts = {
            state: sum(trial.state == state for trial in found) for state in dict.fromkeys(t.state for t in found)
        }
        told = ", ".join(f"{number} {state}" for state, number in counts.items())
        done = len(found)  # a grid, or a target, may end before the last trial that was asked for
        self.context.set_steps(done)
        self.context.progress(done, done, "")
        if best is None or best.value is None:
            reasons = [trial.reason for trial in found if trial.reason]
            raise UserError(f"no trial gave a value ({told})" + (f": the last one: {reasons[-1]}" if reasons else ""))
        within = best.kl is not None and best.kl <= self.kl_limit
        words = f"best: trial {best.number} with {self.measure.asked} {self.shown(best.value)}"
        if not within:
            words += f", and no trial kept KL within {self.kl_limit:g}"
        self.context.log(f"{len(found)} trials: {told}; {words}")
        facts.record(
            self.db,
            Fact(
                "sweep.best", best.value, unit=self.measure.unit, run=self.id, n=counts.get("complete", 0),
                source=f"{self.measure.asked} of trial {best.number} ({best.run})",
            ),
        )  # fmt: skip
        runs.update(
            self.db, self.id, hint=f"{words}: 'dpotui sweep promote {self.id}' writes its values into a configuration"
        )


def _larger(size: Any, tried: Any) -> bool:
    """Whether a size is as large as one that was tried, or larger."""
    return isinstance(size, int) and isinstance(tried, int) and size >= tried > 0


def _bare(reason: str) -> str:
    """A reason without its numbers."""
    return re.sub(r"[\d.]+(e[-+]?\d+)?", "0", reason)
