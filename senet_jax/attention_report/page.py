"""The report's page: one HTML file with its pictures inside, which opens anywhere, offline."""

import base64
import html
from collections.abc import Mapping, Sequence
from typing import NamedTuple

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 0 auto;
  padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .3rem; }
p { max-width: 44rem; margin: .3rem 0 .8rem; }
.wide { overflow-x: auto; overflow-wrap: normal; }
.wide td, .wide th { white-space: nowrap; }
img { width: 100%; min-width: 34rem; max-width: 62rem; height: auto; display: block; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #ddd;
  vertical-align: top; }
td.number, th.number { text-align: right; overflow-wrap: normal; }
"""


class Picture(NamedTuple):
    """A section of the page.

    Attributes:
      title, text: what is seen.
      png: the picture's bytes.
    """

    title: str
    text: str
    png: bytes


class Table(NamedTuple):
    """A section of the page.

    Attributes:
      title, text: what is in it.
      head: its columns' names.
      rows: its cells; numbers are set to the right.
    """

    title: str
    text: str
    head: Sequence[str]
    rows: Sequence[Sequence[str | int | float]]


def page(title: str, about: Mapping[str, str], sections: Sequence[Picture | Table]) -> str:
    """The page, HTML 5, without scripts and without anything from elsewhere."""
    facts = "".join(f"<tr><th>{_text(k)}</th><td>{_text(v)}</td></tr>" for k, v in about.items())
    body = "".join(_section(section) for section in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head>"
        f"<body><h1>{_text(title)}</h1><table>{facts}</table>{body}</body></html>\n"
    )


def _section(section: Picture | Table) -> str:
    head = f"<h2>{_text(section.title)}</h2><p>{_text(section.text)}</p>"
    if isinstance(section, Picture):
        data = base64.b64encode(section.png).decode()
        image = f'<img alt="{_text(section.title)}" src="data:image/png;base64,{data}">'
        return f'{head}<div class="wide">{image}</div>'
    numbers = [not isinstance(cell, str) for cell in section.rows[0]] if section.rows else []
    columns = "".join(_cell("th", name, n) for name, n in zip(section.head, numbers, strict=False))
    rows = "".join(
        "<tr>" + "".join(_cell("td", c, n) for c, n in zip(row, numbers, strict=True)) + "</tr>"
        for row in section.rows
    )
    return f'{head}<div class="wide"><table><tr>{columns}</tr>{rows}</table></div>'


def _cell(kind: str, value: str | int | float, number: bool) -> str:
    text = f"{value:,.3f}" if isinstance(value, float) else f"{value}"
    return f"<{kind}{' class=number' if number else ''}>{_text(text)}</{kind}>"


def _text(value: str) -> str:
    return html.escape(str(value))
