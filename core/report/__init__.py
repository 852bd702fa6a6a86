"""The evaluation report: what was measured, what was not, and what a person decided, as Markdown and HTML.

One document is built from runs.db and the files (`build`), written in two forms (`pages`), and held against them later
(`verify`). `decide` keeps a person's decision with the criteria as they stood.
"""

from core.report.contents import build
from core.report.decision import decide, written
from core.report.document import Figure, Report
from core.report.holding import Checked, Outcome, verify
from core.report.pages import FORMATS, page
from core.report.sources import Sources
from core.report.success import Criterion, criteria

__all__ = [
    "FORMATS",
    "Checked",
    "Criterion",
    "Figure",
    "Outcome",
    "Report",
    "Sources",
    "build",
    "criteria",
    "decide",
    "page",
    "verify",
    "written",
]
