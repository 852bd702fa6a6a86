"""What all modes share: the status lines above, panes that give way on a narrow screen, the find bar, the footer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.reactive import Reactive, reactive
from textual.screen import Screen
from textual.widget import Widget

from dpotui.live import Closer, Snapshot
from dpotui.widgets.find import FindBar
from dpotui.widgets.footer import Keys
from dpotui.widgets.status import Status, Tabs

if TYPE_CHECKING:
    from dpotui.app import Workbench

# From this width on all panes are shown side by side.
WIDE = 120


class ModeScreen(Screen[None]):
    """A mode. A subclass names its panes and makes them; it is shown every new snapshot while it is in front."""

    MODE: ClassVar[str] = ""
    # Title and id of each pane, in the order of the tab key.
    PANES: ClassVar[tuple[tuple[str, str], ...]] = ()
    AUTO_FOCUS = ""  # the pane that is chosen has the focus
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide")]  # noqa: RUF012 - declared so by Screen
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "pane(1)", "Pane", priority=True, id="screen.next-pane"),
        Binding("shift+tab", "pane(-1)", "Last pane", show=False, priority=True, id="screen.last-pane"),
        Binding("escape", "first_pane", "Back", show=False, id="screen.back"),
        Binding("slash", "find", "Find", key_display="/", id="screen.find"),
    ]
    DEFAULT_CSS = """
    ModeScreen {
        background: $background; layout: vertical; overflow: hidden;
        & > #panes { height: 1fr; }
        &.-narrow .pane { display: none; width: 1fr; height: 1fr; border: none; }
        &.-narrow .pane.-shown { display: block; }
        &.-wide .pane { border: round $panel-lighten-1; border-title-color: $dim; border-title-align: left;
            border-subtitle-color: $dim; }
        &.-wide .pane:focus { border: round $primary; border-title-color: $primary; border-title-style: bold; }
    }
    """

    # Neither repaints the whole screen, which the widgets that show it do for themselves.
    pane: reactive[str] = reactive("", init=False, repaint=False)
    focused: Reactive[Widget | None] = Reactive(None, repaint=False)

    @property
    def bench(self) -> Workbench:
        return cast("Workbench", self.app)

    def compose(self) -> ComposeResult:
        yield Status()
        yield Tabs(self.MODE)
        yield from self.head()
        with Container(id="panes"):
            for (title, id_), widget in zip(self.PANES, self.panes(), strict=True):
                widget.id = id_
                widget.add_class("pane")
                widget.border_title = title
                yield widget
        yield self.finder()
        yield Keys()

    def head(self) -> Iterable[Widget]:
        """Lines above the panes."""
        return ()

    def finder(self) -> FindBar:
        """The line in which one types what to find."""
        return FindBar()

    def panes(self) -> Iterable[Widget]:
        """The panes, in the order of PANES."""
        raise NotImplementedError

    @property
    def panes_here(self) -> tuple[tuple[str, str], ...]:
        """Those of PANES that there are now."""
        return self.PANES

    def fill(self, snapshot: Snapshot) -> None:
        """Show the workspace as it stands now."""
        raise NotImplementedError

    def stage_shown(self) -> int | None:
        """The stage on screen, for the status line."""
        return None

    def run_watched(self, snapshot: Snapshot) -> str | None:
        """The run whose metrics and log this screen shows."""
        return None

    def results_of(self) -> int | None:
        """The stage whose results this screen shows."""
        return None

    def closer(self) -> Closer:
        """What is wanted of that run beyond its own series."""
        return Closer()

    def unsaved(self) -> str:
        """What would be lost if one left now, in a sentence."""
        return ""

    def narrowed(self) -> str:
        """What the list is narrowed to, in words."""
        return ""

    @property
    def pane_at_first(self) -> str:
        return self.PANES[0][1]

    def on_mount(self) -> None:
        self.pane = self.pane_at_first

    @on(events.ScreenResume)
    def _styles_stand(self, event: events.ScreenResume) -> None:
        """Nothing that styles depend on changes behind another mode, but a theme, which Textual sees to."""
        event.refresh_styles = False

    def on_screen_resume(self) -> None:
        self.refresh_all()

    def on_resize(self) -> None:
        self._tabs()

    def refresh_all(self) -> None:
        """Show the newest snapshot; called for each of them and whenever this screen chose something else to show."""
        snapshot = self.bench.snapshot
        if snapshot is None or not self.is_mounted:
            return
        self.bench.watch_run(self.run_watched(snapshot), self.results_of(), self.closer())
        self.query_one(Status).fill(snapshot, self.stage_shown(), self.bench.link)
        self.fill(snapshot)
        self._tabs()

    @property
    def wide(self) -> bool:
        return self.size.width >= WIDE

    def watch_pane(self, pane: str) -> None:
        for _, id_ in self.PANES:
            self.query_one(f"#{id_}").set_class(id_ == pane, "-shown")
        self.query_one(f"#{pane}").focus()
        self._tabs()

    def _tabs(self) -> None:
        if not self.is_mounted:
            return
        titles = {id_: title for title, id_ in self.panes_here}
        shown = () if self.wide else tuple(titles.values())
        self.query_one(Tabs).fill(shown, titles.get(self.pane, ""), self.narrowed())

    def on_descendant_focus(self) -> None:
        # A click on a pane chooses it too.
        focused = self.focused
        if focused is not None and any(focused.id == id_ for _, id_ in self.PANES):
            self.pane = str(focused.id)

    def action_pane(self, by: int) -> None:
        ids = [id_ for _, id_ in self.panes_here]
        self.pane = ids[(ids.index(self.pane) + by) % len(ids)]

    def action_first_pane(self) -> None:
        """From the details to what they are of."""
        self.pane = self.PANES[0][1]

    def action_find(self) -> None:
        self.query_one(FindBar).open()

    @on(FindBar.Closed)
    def _find_closed(self) -> None:
        self.query_one(f"#{self.pane}").focus()
        self._tabs()
