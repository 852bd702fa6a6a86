"""Nothing that others wrote becomes markup: names, notes, paths and logs are text in every form of a report."""

from __future__ import annotations

import html as html_module
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from core import checklist
from core.report import Sources, build, html, markdown, page
from core.report.clean import Cleaner
from core.report.document import Bullets, Figure, Paragraph, Report, Section, cell, row, table
from core.store import decisions, facts, notes, runs
from core.store.decisions import Decision
from core.store.facts import Fact
from core.text import printable
from core.workspace import Workspace
from dpotui.report_lines import lay_out
from tests.core.report import made
from tests.core.report.conftest import Bench

PIECES = (
    *("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "</td></table><b>", "&lt;b&gt;", "-->", "<!--", "`"),
    *("``", "\\", "|", "*a*", "_b_", "**c**", "[x](javascript:alert(1))", "![y](http://z.example/p.png)", "evil.com"),
    *(
        "https://evil.example/a",
        "www.evil.example",
        "a@evil.example",
        "# h",
        "- l",
        "1. n",
        "1) m",
        "> q",
        "+ p",
        "* s",
    ),
    *("---", "===", "~~~", "```", "$x$", "<a>", "~~s~~", ":::", "a\\|b", "\x1b[31m", "\x1b]8;;http://x\x07", "\u202e"),
    *("\r", "\n", "\n\n# new", "\t", "    code", " ", "\u2028", "\ud800", "&#60;b>", "{{x}}", "]]>", "'\"", "\x00"),
    *("[ref]: http://x", "[^1]", "| --- |", "é", "漢字", "😀"),
)
TEXT = st.lists(st.sampled_from(PIECES) | st.text(max_size=6), max_size=6).map("".join)
PARSER = MarkdownIt("gfm-like")


def _report(text: str) -> Report:
    figure = Figure(("x",), text or "—", "raw", mood="good")
    return Report(
        f"Report: {text}",
        (Paragraph(cell(text or "—")), Paragraph(cell("Decision: ", figure, " ", text))),
        (
            Section(
                "s",
                "Section",
                (
                    Bullets((cell("ana: ", text), cell(text or "—"))),
                    table(("a", "b", "c"), [row(text, figure, cell("x", text)), row(cell(text, figure), text, "y")]),
                ),
            ),
        ),
    )


def _shape(tokens: list[Token]) -> list[str]:
    """The structure of a page, and inside of lines nothing but text and code spans."""
    found = []
    for token in tokens:
        if token.type != "inline":
            found.append(token.type)
        for child in token.children or []:
            assert child.type in ("text", "code_inline", "text_special"), (child.type, token.content)
    return found


def _md(report: Report) -> str:
    return "\n".join(line.text for line in markdown.render(report))


def _html(report: Report) -> str:
    return "\n".join(line.text for line in html.render(report))


class _Shape(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.shape: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.shape.append(f"{tag} {sorted(name for name, _ in attrs)}")

    def handle_endtag(self, tag: str) -> None:
        self.shape.append(f"/{tag}")

    def handle_comment(self, data: str) -> None:
        self.shape.append("comment")

    def handle_data(self, data: str) -> None:
        self.text += data


@settings(max_examples=80, deadline=None)
@given(TEXT)
def test_no_text_becomes_markup(text: str) -> None:
    # What reaches a report has been through the cleaner.
    words = Cleaner(Workspace(Path("/w/s")))(text)
    assert words == printable(words) and "\n" not in words
    hostile, plain_report = _report(words), _report("x")
    assert _shape(PARSER.parse(_md(hostile))) == _shape(PARSER.parse(_md(plain_report)))
    found, wanted = _Shape(), _Shape()
    found.feed(_html(hostile))
    wanted.feed(_html(plain_report))
    assert found.shape == wanted.shape
    assert words in found.text
    for width in (76, 150):
        for spans in lay_out(hostile, width).rows:
            assert all(part.isprintable() or part == printable(part) for part, _ in spans)


@pytest.mark.parametrize("suffix", [".md", ".html"])
def test_a_workspace_full_of_it_gives_a_calm_report(bench: Bench, suffix: str) -> None:
    db, bad = bench.db, "".join(PIECES).replace("\ud800", "")
    facts.record(db, Fact("eval.domain", 0.5, source=bad, text=bad), Fact("eval.human_score", None, source=bad))
    runs.update(db, "dpo-001", error=bad, who=bad, output_dir=bad, config={bad: bad, "model": {"reference_model": bad}})
    made.warn(db, "dpo-001", bad)
    made.rate(db, bad, 3, bad, who="<b>x</b>", key="z")
    notes.add(db, bad, bad, bad)
    decisions.record(db, Decision("iterate", bad, bad, {"items": [], "against": [bad]}))
    item = next(each for root in checklist.load_tree(bench.workspace) for each in root.walk() if each.leaf)
    checklist.tick(db, item, "<i>ana</i>", bad)
    text = page(build(Sources(db, bench.workspace)), suffix)
    visible = text[: text.rindex("<!-- dpotui-figures")]
    assert not any(character in text for character in "\x1b\x00\u202e\r\u2028\ud800")
    if suffix == ".html":
        found = _Shape()
        found.feed(text)
        assert found.shape.count("comment") == 1
        words = (
            "html head meta title style body h1 h2 h3 p b nav a section div table thead tbody tr th td ul li comment"
        )
        known = {*words.split(), "svg", "desc", "text", "path", "polygon", "polyline", "circle"}
        assert {tag.split()[0].lstrip("/") for tag in found.shape} <= known
        assert html_module.escape("<script>alert(1)</script>") in visible
    else:
        assert {"html_block", "fence", "code_block"} & set(_shape(PARSER.parse(visible))) == set()


def test_only_words_that_need_it_stand_in_code_spans() -> None:
    assert markdown.escape("valid rows of a_b.jsonl, and (c.jsonl): 93.5%") == (
        "valid rows of `a_b.jsonl`, and (`c.jsonl`): 93.5%"
    )
    assert markdown.escape("pairs <b> of sft_baseline") == r"pairs \<b\> of sft\_baseline"
    assert markdown.escape("see www.a.example and b@c.example d") == "see `www.a.example` and `b@c.example` d"
