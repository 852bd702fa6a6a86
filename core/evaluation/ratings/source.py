"""Which answers are rated and by what: the newest evaluation's, or a file of candidates that a person names."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from core.config import EvalConfig, load_config
from core.config.evaluate import HumanEvaluation
from core.errors import UserError
from core.evaluation.ratings import sample
from core.evaluation.ratings.sample import BASELINE, FINAL, Catalogue
from core.store import Database, artifacts, files, runs
from core.store.runs import Run
from core.text import printable
from core.workspace import Workspace

# What an evaluation writes into its output folder.
ANSWERS = "answers.jsonl"
CONFIG = "configs/eval_config.yaml"

# Columns of exported marks; a criterion cannot be called like one of them.
COLUMNS = ("key", "who", "note", "time", "model", "line", "prompt", "answer")


@dataclass(frozen=True, slots=True)
class Source:
    """
    Attributes:
        file: as runs.db knows it.
        names: what the file calls the final model and the baseline, to `final` and `baseline`.
        human: sample size, criteria and scale.
        seed: draws the sample and the orders.
        run: the evaluation that wrote the file; None for a file of somebody else.
    """

    file: str
    path: Path
    names: dict[str, str]
    human: HumanEvaluation
    seed: int
    run: Run | None = None

    @property
    def criteria(self) -> tuple[str, ...]:
        return tuple(self.human.criteria)

    @property
    def bounds(self) -> tuple[int, int]:
        return self.human.bounds

    def catalogue(self) -> Catalogue:
        """What there is to rate; read again only when the file changed.

        Raises:
            UserError: the file cannot be read, or has no answer.
        """
        try:
            stat = self.path.stat()
        except OSError as error:
            raise UserError(f"{printable(self.file)} cannot be read ({error.strerror})") from error
        return _catalogue(self.path, tuple(sorted(self.names.items())), stat.st_size, stat.st_mtime_ns)

    def inputs(self, db: Database, workspace: Workspace) -> dict[str, str]:
        """What a figure of these answers was measured on: the file, and the model as it was when it answered."""
        found = files.fingerprints(db, workspace, self.file)
        if self.run is not None:
            final = {name for name, role in self.names.items() if role == FINAL}
            found |= {path: digest for path, digest in self.run.inputs.items() if path in final}
        return found


@lru_cache(maxsize=2)
def _catalogue(path: Path, names: tuple[tuple[str, str], ...], size: int, changed: int) -> Catalogue:
    return sample.catalogue(path, dict(names))


def source_of(db: Database, workspace: Workspace, file: Path | None = None, run: Run | None = None) -> Source:
    """The answers to rate.

    Criteria, scale and sample size are those of the configuration as it stands now, so that they can be settled after
    a long evaluation; the names of the models are those that it ran with.

    Args:
        file: candidates; without it the answers of `run`, or of the newest evaluation that has written some.

    Raises:
        UserError: there is nothing to rate yet, no such file, or a configuration cannot be read.
    """
    if file is None:
        run = run if run is not None and has_answers(db, workspace, run) else newest(db, workspace)
        if run is None:
            raise UserError(
                "no evaluation has written answers yet: run 'dpotui evaluate' (its part win_rate does), or name a file"
                " of candidates"
            )
        path = answers_of(workspace, run)
    else:
        path = file.absolute()
        run = next((one for one in _evaluations(db) if _wrote(db, workspace, one, path)), None)
    config = _config(workspace, run)
    human = config.alignment_evaluation.human_eval if config else HumanEvaluation()
    reserved = [criterion for criterion in human.criteria if criterion in COLUMNS]
    if reserved:
        raise UserError(
            f"alignment_evaluation.human_eval.criteria: '{reserved[0]}' is what a column of exported marks is called:"
            " name the criterion otherwise"
        )
    ran = _ran_with(run) or config
    seed = ran.evaluation.seed if ran else 42
    return Source(workspace.relative(path), path, _names(workspace, ran), human, seed, run)


def newest(db: Database, workspace: Workspace) -> Run | None:
    """The newest evaluation of a final model that has written its answers."""
    return next((run for run in _evaluations(db) if has_answers(db, workspace, run)), None)


def _evaluations(db: Database) -> list[Run]:
    return [run for run in runs.listing(db, kind="evaluate") if run.stage == 7]


def answers_of(workspace: Workspace, run: Run) -> Path:
    folder = run.output_dir or run.config.get("logging", {}).get("output_dir") or "outputs/evaluation"
    return workspace.path(folder) / ANSWERS


def has_answers(db: Database, workspace: Workspace, run: Run) -> bool:
    """Whether an evaluation has written all of its answers. While it still writes, a sample would be another one."""
    path = answers_of(workspace, run)
    return _wrote(db, workspace, run, path) and path.is_file()


def _wrote(db: Database, workspace: Workspace, run: Run, path: Path) -> bool:
    relative = workspace.relative(path)
    return any(artifact.path == relative for artifact in artifacts.of_run(db, run.id))


def _config(workspace: Workspace, run: Run | None) -> EvalConfig | None:
    """The configuration that an evaluation was started with, as the file says it now; where that is gone, as it ran."""
    path = Path(run.config_path) if run is not None and run.config_path else workspace.path(CONFIG)
    path = workspace.path(path)
    if not path.is_file():
        return _ran_with(run)
    return load_config(path, EvalConfig)


def _ran_with(run: Run | None) -> EvalConfig | None:
    if run is None:
        return None
    try:
        return EvalConfig.model_validate(run.config)
    except ValidationError:  # of another version of the program
        return None


def _names(workspace: Workspace, config: EvalConfig | None) -> dict[str, str]:
    found = {FINAL: FINAL, BASELINE: BASELINE}
    if config is not None:
        for role, name in ((BASELINE, config.model.baseline), (FINAL, config.model.final)):
            found |= {name: role, workspace.relative(Path(name)): role}
    return found
