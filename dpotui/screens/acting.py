"""What is done in a stage beyond starting its runs: vote, rate, browse what it read, wrote, lost or got wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from textual.binding import Binding, BindingType
from textual.widgets import Input

from core.errors import UserError
from dpotui.results.sweep import of_sweep
from dpotui.screens.choosing import ChoosesRuns
from dpotui.screens.running import CommandsRuns
from dpotui.stages import ACTIONS, COMPARED_IN, DECIDED_IN, FILTERED_IN, RATED_IN, STAGES, TRAINED, VOTED_IN, Action

if TYPE_CHECKING:
    from dpotui.screens.vote import Voting


class ActsInStage(ChoosesRuns, CommandsRuns):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "vote", "Vote", tooltip="Vote on pairs or candidates, blind", id="stage.vote"),
        Binding("l", "lost", "Lost", tooltip="Browse the comparisons that the policy lost", id="stage.lost"),
        # Of the tree, h folds; the priority is for stage 7 alone.
        Binding("h", "rate", "Rate", priority=True, tooltip="Rate answers by criteria, blind to the model",
                id="stage.rate"),
        Binding("F", "low_quality", "Filter pairs", tooltip="Filter pairs of low quality by the reward model",
                id="stage.filter"),
        Binding("W", "wrong", "Most wrong", tooltip="Browse the pairs that the reward model gets most wrong",
                id="stage.wrong"),
        Binding("T", "trials", "Trials", tooltip="Trials of the sweep: open, stop, promote", id="stage.trials"),
        Binding("R", "again", "Re-run", show=False, tooltip="Start the run in hand once more, with changes",
                id="stage.again"),
        Binding("d", "data", "Data", show=False, tooltip="Browse the data of this run, or of what g starts",
                id="stage.data"),
        Binding("D", "decide", "Decide", key_display="D", tooltip="Continue, stop or roll back after an iteration",
                id="stage.decide"),
        Binding("G", "gradients", "Gradients", show=False, tooltip="Gradient norms by layer and module",
                id="stage.gradients"),
    ]  # fmt: skip

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        stage = self.stage_in_hand
        if action == "vote":
            return stage in (VOTED_IN, COMPARED_IN)
        if action == "lost":
            return stage == COMPARED_IN
        if action == "rate":
            return stage == RATED_IN and not isinstance(self.focused, Input)
        if action == "decide":
            return stage == DECIDED_IN and self.is_mounted and self.run_in_hand() is not None
        if action in ("low_quality", "wrong"):
            return stage == FILTERED_IN
        if action == "gradients":
            run = self.run_in_hand() if self.is_mounted else None
            return run is not None and run.kind in TRAINED
        if action == "trials":
            return self.is_mounted and of_sweep(self.run_in_hand()) is not None
        if action == "again":
            return self.is_mounted and self.run_in_hand() is not None
        if action == "data":
            return STAGES[stage].action is not None
        return super().check_action(action, parameters)

    def action_in_hand(self) -> Action:
        return STAGES[self.stage_in_hand].action or ACTIONS["dpo"]

    async def action_data(self) -> None:
        """Browse what the run in hand wrote or reads; without a run, what the next one would read."""
        from dpotui.browse.of_run import data_file, data_files

        try:
            config = self._config_in_hand()
        except UserError as error:
            self.bench.say(str(error), "error")
            return
        path = data_file(self.bench.workspace, config)
        if path is not None:
            await self.bench.open_data(path)
            return
        named = data_files(config)
        self.bench.say(f"{named[0]} is not there yet" if named else "no data file is named here", "warning")
        await self.bench.switch_mode("Data")

    def _config_in_hand(self) -> Mapping[str, Any]:
        """
        Raises:
            UserError: the configuration of the stage cannot be read.
        """
        run, action = self.run_in_hand(), self.action_in_hand()
        if run is not None:
            return run.config
        from core.config import RUN_CONFIGS, load_config

        return load_config(self.bench.workspace.path(action.config), RUN_CONFIGS[action.model]).model_dump()

    async def action_lost(self) -> None:
        from dpotui.results import win_rate

        await win_rate.open_lost(self.bench, self.run_in_hand())

    def action_vote(self) -> None:
        # Read when it is asked for: what reads and counts votes is not needed to start.
        from dpotui.screens.vote import VoteScreen
        from dpotui.screens.vote_start import VoteStart

        if self.stage_in_hand == COMPARED_IN:
            from dpotui.results import win_rate

            win_rate.vote(self.bench, self.run_in_hand())
            return

        def chosen(voting: Voting | None) -> None:
            if voting is not None:
                self.app.push_screen(VoteScreen(voting))

        self.app.push_screen(VoteStart(), chosen)

    def action_rate(self) -> None:
        from core.evaluation.ratings.source import has_answers, newest
        from dpotui.screens.rate import RateScreen, Rating

        run, bench = self.run_in_hand(), self.bench
        if not (run and has_answers(bench.db, bench.workspace, run)) and newest(bench.db, bench.workspace) is None:
            bench.say("there are no answers to rate yet: g starts an evaluation", "warning")
            return
        self.app.push_screen(RateScreen(Rating(run=run)))

    def action_decide(self) -> None:
        """What follows the last iteration."""
        from dpotui import deciding

        run = self.run_in_hand()
        try:
            if run is not None:
                deciding.ask(self.bench, run.id, self._ensure_engine)
        except UserError as error:
            self.bench.say(str(error), "warning")

    async def action_wrong(self) -> None:
        from dpotui.results import reward

        await reward.open_wrong(self.bench, self.run_in_hand())

    def action_low_quality(self) -> None:
        from dpotui.screens.filter import FilterScreen, filtering_of

        try:
            self.app.push_screen(FilterScreen(filtering_of(self.bench.workspace, self._config_in_hand())))
        except UserError as error:
            self.bench.say(str(error), "error")

    def action_trials(self) -> None:
        from dpotui.screens.sweep import open_trials

        run = self.run_in_hand()
        sweep = of_sweep(run)
        if run is not None and sweep is not None:
            open_trials(self.bench, sweep, run.id)

    def action_gradients(self) -> None:
        """Gradient norms by module: of the steps that were measured, and of the next one where that is asked."""
        from dpotui.screens.gradients import GradientsScreen

        run = self.run_in_hand()
        if run is not None:
            self.app.push_screen(GradientsScreen(run.id))
