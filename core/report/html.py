"""A report as one HTML page: its style and its charts inside, no script, nothing loaded from anywhere."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterator

from core.report.document import Block, Bullets, Cell, Charts, Figure, Paragraph, Report, Table
from core.report.line import Written
from core.report.svg import draw

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#5b6570;--page:#fff;--rule:#d5dae0;--head:#f2f4f7;--good:#11662f;
--bad:#a8071a;--warn:#8a4b00;--l0:#1f5fbf;--l1:#b3470a}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ed;--dim:#9aa5b1;--page:#14171b;--rule:#343b44;--head:#1d2228;
--good:#5fd38a;--bad:#ff8080;--warn:#f0b35a;--l0:#7db2ff;--l1:#ff9f5a}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:76rem;padding:1.5rem 1rem 4rem;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
h1{font-size:1.55rem;line-height:1.25;margin:.2rem 0 1rem;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2.2rem 0 .6rem;padding-bottom:.25rem;border-bottom:2px solid var(--rule)}
p{margin:.5rem 0;overflow-wrap:anywhere}ul{margin:.4rem 0;padding-left:1.2rem}li{overflow-wrap:anywhere}
nav{display:flex;flex-wrap:wrap;gap:.2rem .9rem;margin:1rem 0;padding:.5rem .8rem;background:var(--head);
border-radius:6px;font-size:.9rem}
a{color:var(--l0)}
.wide{overflow-x:auto;margin:.6rem 0}
table{border-collapse:collapse;width:100%;font-size:.86rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;vertical-align:top;padding:.28rem .6rem;border-bottom:1px solid var(--rule);
unicode-bidi:isolate;overflow-wrap:break-word}
th{background:var(--head);font-weight:600;white-space:nowrap}
td{max-width:34rem}
.n{text-align:right;white-space:nowrap}td:last-child:not(.n){min-width:9rem}.told td:last-child{color:var(--dim)}
td:first-child{min-width:8rem}
.good{color:var(--good)}.bad{color:var(--bad);font-weight:600}.warn{color:var(--warn);font-weight:600}
h3{font-size:1rem;margin:1.4rem 0 .4rem}
p.good,p.bad,p.warn{padding:.35rem .7rem;border-left:4px solid;background:var(--head)}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(19rem,1fr));gap:.8rem}
svg{width:100%;height:auto;border:1px solid var(--rule);border-radius:6px}
svg text{font:10px system-ui,sans-serif;fill:var(--dim)}svg .name{font-size:12px;font-weight:600;fill:var(--ink)}
.axis{fill:none;stroke:var(--dim);stroke-width:.8}.line{fill:none;stroke-width:1.5;stroke-linejoin:round}
.l0{stroke:var(--l0)}.l1{stroke:var(--l1);stroke-dasharray:5 2}.band{opacity:.16}.b0,.d0{fill:var(--l0)}
.b1,.d1,svg .k1{fill:var(--l1)}svg .k0{fill:var(--l0)}.grid{fill:none;stroke:var(--rule);stroke-width:.6}
.limit{fill:none;stroke:var(--warn);stroke-dasharray:2 3}
svg .limit-name{fill:var(--warn)}
@media(max-width:40rem){body{padding:.8rem .6rem 3rem}th,td{padding:.25rem .4rem}}
@page{size:A4 landscape;margin:12mm}
@media print{:root{--ink:#000;--dim:#333;--page:#fff;--rule:#bbb;--head:#f2f2f2;--good:#063;--bad:#a00;--warn:#850;
--l0:#135;--l1:#a40}body{max-width:none;padding:0;font-size:10pt}nav{display:none}.wide{overflow:visible}
table{font-size:7.5pt}td:first-child{min-width:6rem}td:last-child:not(.n){min-width:6rem}td{max-width:none}
.told td:last-child{overflow-wrap:anywhere}th{white-space:normal}tr,svg{break-inside:avoid}
h2{break-after:avoid}thead{display:table-header-group}.charts{grid-template-columns:1fr 1fr 1fr}h3{break-after:avoid}}
""".strip()

_MARKS = {"good": "✓ ", "bad": "✗ ", "warn": "⚠ ", "": ""}


def policy() -> str:
    """Nothing is loaded and nothing runs; the one style sheet is known by its hash."""
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def escape(text: str) -> str:
    return html.escape(text, quote=True)


def shown(figure: Figure) -> str:
    """A figure as it stands in a line."""
    return escape(figure.shown)


def render(report: Report) -> Iterator[Written]:
    for line in (
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy()}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{escape(report.title)}</title>",
        # Between the tags stands exactly what the policy has the hash of.
        *f"<style>{_STYLE}</style>".split("\n"),
        "</head>",
        "<body>",
        f"<h1>{escape(report.title)}</h1>",
    ):
        yield Written(line)
    for block in report.lead:
        yield from _block(block)
    links = " ".join(f'<a href="#{each.id}">{escape(each.title)}</a>' for each in report.sections)
    yield Written(f"<nav>{links}</nav>")
    for section in report.sections:
        yield Written(f'<section id="{section.id}">')
        yield Written(f"<h2>{escape(section.title)}</h2>")
        for block in section.blocks:
            yield from _block(block)
        yield Written("</section>")
    yield Written("</body>")
    yield Written("</html>")


def _cell(text: Cell) -> str:
    return "".join(escape(part) if isinstance(part, str) else _figure(part) for part in text)


def _figure(figure: Figure) -> str:
    kind = f' class="{figure.mood}"' if figure.mood else ""
    return f"<b{kind}>{shown(figure)}</b>" if kind else shown(figure)


def _figures(*cells: Cell) -> tuple[Figure, ...]:
    return tuple(part for text in cells for part in text if isinstance(part, Figure))


def _block(block: Block) -> Iterator[Written]:
    if isinstance(block, Paragraph):
        kind = f' class="{block.mood}"' if block.mood else ""
        yield Written(f"<p{kind}>{_MARKS[block.mood]}{_cell(block.text)}</p>", _figures(block.text))
    elif isinstance(block, Bullets):
        yield Written("<ul>")
        for item in block.items:
            yield Written(f"<li>{_cell(item)}</li>", _figures(item))
        yield Written("</ul>")
    elif isinstance(block, Table):
        yield from _table(block)
    else:
        yield from _charts(block)


def _table(block: Table) -> Iterator[Written]:
    kinds = [' class="n"' if index in block.numbers else "" for index in range(len(block.head))]
    head = "".join(f'<th scope="col"{kind}>{escape(name)}</th>' for name, kind in zip(block.head, kinds, strict=True))
    # A last column of sentences stands back behind the figures.
    told = ' class="told"' if block.head[-1].startswith(("why", "where")) else ""
    yield Written(f'<div class="wide"><table{told}><thead><tr>{head}</tr></thead><tbody>')
    for cells in block.rows:
        tds = "".join(f"<td{kind}>{_cell(each)}</td>" for each, kind in zip(cells, kinds, strict=True))
        yield Written(f"<tr>{tds}</tr>", _figures(*cells))
    yield Written("</tbody></table></div>")


def _charts(block: Charts) -> Iterator[Written]:
    yield Written(f"<h3>{escape(block.title)}</h3>")
    yield Written('<div class="charts">')
    for chart in block.charts:
        yield from draw(chart)
    yield Written("</div>")
    names = ("metric", "points", "first", "last", "lowest", "highest")
    head = "".join(
        f'<th scope="col"{" class=" + chr(34) + "n" + chr(34) if i else ""}>{n}</th>' for i, n in enumerate(names)
    )
    yield Written(f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>')
    for chart in block.charts:
        for line in chart.lines:
            figures = (line.points, line.first, line.last, line.low, line.high)
            tds = "".join(f'<td class="n">{shown(each)}</td>' for each in figures)
            yield Written(f"<tr><td>{escape(line.name)}</td>{tds}</tr>", figures)
    yield Written("</tbody></table></div>")
