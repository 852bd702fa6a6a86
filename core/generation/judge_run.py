"""A run of kind `judge`: every judge is asked, every verdict kept at once, and pairs are made of them at the end."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx

from core.config import JudgeConfig
from core.config.judge import Judge
from core.data.jsonl import BadRow
from core.data.manifest import manifest_path, writing
from core.errors import UserError
from core.generation.asking import ask_all, open_judge, opinion_of
from core.generation.groups import Group, Question, groups, questions
from core.generation.judge_report import Report, agreement_line
from core.generation.judges import Asked, Asker, Asking
from core.generation.pairing import Opinion
from core.generation.refusals import refuse_changed, refuse_to_replace
from core.generation.verdicts import NAME, Said, Verdicts
from core.models.load import resolve
from core.store import facts
from core.store.facts import Fact
from core.text import printable
from core.training.context import Context
from core.training.control import Stopped
from core.training.obeying import obey
from core.training.prepare import SHOWN, claim_output
from core.workspace import write_private

REPORT = "judge_report.json"
# Seconds between two reports of progress.
_EVERY = 0.5


def run(context: Context) -> None:
    config = JudgeConfig.model_validate(context.run.config)
    folder = claim_output(context, config.logging.output_dir)
    refuse_to_replace(context.workspace.path(config.data.output_file), "judge")
    verdicts = Verdicts(folder / NAME)
    try:
        _Judging(context, config, folder, verdicts).work()
    finally:
        verdicts.close()


class _Judging:
    def __init__(self, context: Context, config: JudgeConfig, folder: Path, verdicts: Verdicts) -> None:
        self._context = context
        self._config = config
        self._folder = folder
        self._verdicts = verdicts
        self._input = context.workspace.path(config.data.input_file)
        self._total = 0
        self._phase = ""
        self._began = time.monotonic()
        self._at_start = len(verdicts)
        self._reported = 0.0
        self._bad: Counter[str] = Counter()

    def work(self) -> None:
        context, config = self._context, self._config
        models = {
            name: resolve(context.workspace, judge.model)
            for name, judge in config.judges.items()
            if judge.kind != "endpoint"
        }
        rubrics = {judge.rubric_file for judge in config.judges.values() if judge.kind != "reward"}
        reads = (config.data.input_file, *sorted(rubrics), *sorted({str(path) for path in models.values()}))
        if len(self._verdicts):
            refuse_changed(context, reads, "verdicts")
            context.log(f"goes on: {len(self._verdicts)} verdicts are there")
        hashes = context.reads(*reads)
        self._count()
        for name, judge in config.judges.items():
            self._ask(name, judge, models.get(name))
        self._write(hashes)

    def _count(self) -> None:
        """What there is to do; rows that cannot be read are said once."""
        context, config = self._context, self._config
        shown = printable(config.data.input_file)
        context.progress(context.run.step, context.run.steps, f"reading {shown}")
        rows = 0
        for row in groups(self._input):
            if isinstance(row, BadRow):
                self._bad[row.kind] += 1
                if self._bad.total() <= SHOWN:
                    context.log(f"left out: {shown}:{row.line}: {row.reason}", "warning")
                continue
            rows += len(row.responses) > 1
            self._total += sum(len(self._questions(row, judge)) for judge in config.judges.values())
            if not rows % 1000:
                context.control.raise_if_stopping()
        if self._bad:
            kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self._bad.items()))
            context.log(f"left out of {shown}: {self._bad.total()} rows ({kinds})", "warning")
        if not self._total:
            raise UserError(f"{shown} has no prompt with two different responses: there is nothing to judge")
        context.set_steps(self._total)
        context.log(f"{shown}: {rows} prompts with two different responses or more, {self._total} questions")

    def _questions(self, group: Group, judge: Judge) -> list[Question]:
        comparing = self._config.comparing
        ask = "scores" if judge.kind == "reward" else judge.ask
        return questions(group, ask, per_prompt=comparing.per_prompt, seed=comparing.seed)

    def _asked(self, judge: Judge) -> Iterator[Asked]:
        for row in groups(self._input):
            if not isinstance(row, BadRow):
                yield from ((question, row) for question in self._questions(row, judge))

    def _ask(self, name: str, judge: Judge, path: Path | None) -> None:
        """Have one judge answer what it has not answered yet."""
        done = self._verdicts.of(name)
        if all(question in done for question, _ in self._asked(judge)):
            return
        self._context.progress(len(self._verdicts), self._total, f"loading {printable(judge.model)}")
        asker = self._asker(name, judge, path)
        self._phase = f"judging by {name}"
        self._began, self._at_start = time.monotonic(), len(self._verdicts)
        self._context.progress(len(self._verdicts), self._total, self._phase)

        def say(said: list[tuple[Question, Said]]) -> None:
            self._verdicts.append(name, said)

        try:
            ask_all(asker, self._asked(judge), Asking(done, say, self._between))
            self._report(last=True)
        finally:
            asker.close()
            del asker
            mx.clear_cache()

    def _asker(self, name: str, judge: Judge, path: Path | None) -> Asker:
        try:
            return open_judge(self._context.workspace, name, judge, path, self._config.compute, self._context.log)
        except UserError as error:
            raise UserError(f"judges.{name}: {error}") from error

    def _between(self) -> None:
        """Report, and do what was asked meanwhile. Ends the run by `Stopped`; all verdicts are on disk."""
        self._report()
        try:
            self._began += obey(self._context, self._kept)
        except Stopped:
            self._report(last=True)
            raise

    def _kept(self) -> str:
        return f"{len(self._verdicts)} verdicts are on disk"

    def _report(self, last: bool = False) -> None:
        now = time.monotonic()
        if not last and now - self._reported < _EVERY:
            return
        self._reported = now
        context, done = self._context, len(self._verdicts)
        new, seconds = done - self._at_start, now - self._began
        phase = self._phase
        if new and seconds > 0:
            rate = new / seconds
            left = int((self._total - done) / rate)
            phase += f", {rate:.3g} verdicts/s, ETA {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"
            context.metrics(done, {"examples_per_second": rate})
        # Past the log, in which each new phase would be a line.
        context.writer.progress(context.run.id, done, self._total, phase)

    def _opinion(self, judge: Judge, name: str, group: Group, report: Report) -> Opinion:
        done, size = self._verdicts.of(name), len(group.responses)
        said = {question: done[question] for question in self._questions(group, judge)}
        tally = report.tallies[name].counts
        tally["asked"] += len(said)
        tally.update(one.why for one in said.values() if one.why)
        return opinion_of(judge, size, said)

    def _write(self, hashes: dict[str, str]) -> None:
        """Pairs with their manifest, the report, and what the record says."""
        context, config = self._context, self._config
        output = context.workspace.path(config.data.output_file)
        context.progress(self._total, self._total, f"writing {printable(config.data.output_file)}")
        report = Report(list(config.judges), config.pairing_judge, config.pairing)
        report.rows["bad_rows"] = self._bad.total()
        parents = [self._input]
        parameters = self._parameters(hashes)
        with writing(output, command="judge", parameters=parameters, parents=parents) as file:
            for group in groups(self._input):
                if isinstance(group, BadRow):
                    continue
                if len(group.responses) < 2:
                    report.rows["single_response"] += 1
                    continue
                opinions = {name: self._opinion(judge, name, group, report) for name, judge in config.judges.items()}
                for made in report.add(group, opinions):
                    file.row(
                        {
                            "prompt": group.prompt,
                            "chosen": group.responses[made.chosen],
                            "rejected": group.responses[made.rejected],
                            "chosen_score": made.chosen_score,
                            "rejected_score": made.rejected_score,
                            "judge": config.pairing_judge,
                        }
                    )
            file.counts = report.counts()
            for line in report.lines():
                context.log(line)
            text = json.dumps(report.document(), indent=2, ensure_ascii=False) + "\n"
            write_private(self._folder / REPORT, text)
            self._record(report)
            if not file.rows:
                raise UserError(
                    f"no pair came about: the log and {context.run.output_dir}/{REPORT} say why; try another judge, a"
                    " lower pairing.min_gap, or for a small model verdict: likelihood with average_orders: true"
                )
        for name in (config.data.output_file, context.workspace.relative(manifest_path(output))):
            context.artifact("data", name)
        for name in (NAME, REPORT):
            context.artifact("report", context.workspace.relative(self._folder / name))
        context.progress(self._total, self._total, "")

    def _parameters(self, hashes: dict[str, str]) -> dict[str, Any]:
        """What decides the pairs; how many questions go together is a matter of the machine."""
        config, workspace = self._config, self._context.workspace
        parameters = config.model_dump(mode="json", include={"judges", "comparing", "pairing"})
        for judge in parameters["judges"].values():
            for name in ("batch_size", "api_key_env", "timeout_seconds", "retries", "requests_per_minute"):
                judge.pop(name)
            judge.pop("concurrency")
        known = {workspace.relative(workspace.path(config.data.input_file))}
        parameters["sha256"] = {path: digest for path, digest in sorted(hashes.items()) if path not in known}
        return parameters

    def _record(self, report: Report) -> None:
        between = report.agreement()
        if between is None:
            return
        context, config = self._context, self._config
        judges = ", ".join(f"{name} ({judge.kind}, {judge.model})" for name, judge in config.judges.items())
        told = agreement_line(between, report.heard())
        facts.record(
            context.db,
            Fact(
                "data.judge_agreement", between.kappa, run=context.run.id, low=between.low, high=between.high,
                n=between.items, source=f"{judges}: {told}; {config.data.input_file}",
                inputs=context.inputs(config.data.input_file),
            ),
        )  # fmt: skip
