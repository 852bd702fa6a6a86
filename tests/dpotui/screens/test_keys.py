"""The list of keys: no screen has one that it does not name."""

from __future__ import annotations

import pytest
from textual.binding import Binding
from textual.screen import Screen

from dpotui.screens.compare import CompareScreen
from dpotui.screens.data import DataScreen
from dpotui.screens.filter import FilterScreen
from dpotui.screens.gates import GatesScreen
from dpotui.screens.hardware import HardwareScreen
from dpotui.screens.keys import _GROUPS
from dpotui.screens.plan import PlanScreen
from dpotui.screens.rate import RateScreen
from dpotui.screens.report import ReportScreen
from dpotui.screens.runs import RunsScreen
from dpotui.screens.stage import StageScreen
from dpotui.screens.vote import VoteScreen
from dpotui.widgets.charts import Charts
from dpotui.widgets.checklist import ChecklistTree
from dpotui.widgets.log import Log
from dpotui.widgets.results import Results
from dpotui.widgets.side_by_side import SideBySide
from dpotui.widgets.table import Table

WITH_KEYS = (
    CompareScreen, SideBySide,
    DataScreen, FilterScreen, GatesScreen, HardwareScreen, PlanScreen, RateScreen, ReportScreen, RunsScreen,
    StageScreen, VoteScreen, Charts, ChecklistTree, Log, Results, Table,
)  # fmt: skip


@pytest.mark.parametrize("owner", WITH_KEYS, ids=lambda owner: owner.__name__)
def test_every_key_of_a_screen_belongs_to_a_group_that_is_listed(owner: type[Screen[None]]) -> None:
    listed = {prefix for _, prefixes in _GROUPS for prefix in prefixes}
    ids = [
        binding.id
        for parent in owner.__mro__
        for binding in vars(parent).get("BINDINGS", ())
        if isinstance(binding, Binding) and parent.__module__.startswith("dpotui") and binding.description
    ]
    assert ids
    assert {str(id_).split(".")[0] for id_ in ids} <= listed
