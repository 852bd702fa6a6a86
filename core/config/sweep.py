"""What a run of kind `sweep` is given: W&B's file as it was read, the configuration of its trials, and how many."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from core.config.document import Document
from core.config.dpo import DPOConfig
from core.config.evaluate import EvalConfig
from core.config.section import Section, Text, Whole
from core.config.sweep_file import SweepFile, sweep_of

# Where neither the file (run_cap) nor the person says how many: W&B would go on for ever.
TRIALS = 12
MOST_TRIALS = 10_000


class SweepConfig(Section):
    """The snapshot in runs.db. All that decides the trials is in it, so that a resumed sweep is the same sweep."""

    file: Text = Field(description="Where W&B's file was.")
    sweep: dict[str, Any] = Field(description="W&B's file.")
    base: DPOConfig = Field(description="The configuration of every trial, but for its parameters.")
    trials: Whole = Field(description="How many at most.", ge=1, le=MOST_TRIALS)
    evaluate: EvalConfig | None = Field(
        default=None, description="The evaluation after each trial, where the metric needs one."
    )

    @property
    def asked(self) -> SweepFile:
        """W&B's file once more, without lines."""
        return sweep_of(Document(self.file, self.sweep))

    def reads(self) -> dict[str, str]:
        found = self.base.reads()
        if self.evaluate is not None:
            # The model is the trial's, which is not there yet.
            found |= {key: name for key, name in self.evaluate.reads().items() if key != "model.final"}
        return found
