"""A page of results in one HTML file that needs nothing beside it, nor a network."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from searchapp.errors import EvaluationError
from searchapp.evaluate.figures import Figure

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59626d; --line: #d5dae0; --paper: #fff; --tint: #f4f6f8;
  --good: #00664a; --bad: #a33c00; --link: #0059a8 }
@media (prefers-color-scheme: dark) { :root { --ink: #dde1e6; --soft: #a0a9b4; --line: #353c45; --paper: #15181c;
  --tint: #1d2228; --good: #4fd1a5; --bad: #ff9d66; --link: #7db9ff } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 64rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word }
h1 { font-size: 1.6rem; margin: 0 0 .25rem } h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem }
h3 { font-size: 1.05rem; margin: 1.75rem 0 .5rem } p { margin: .5rem 0 } a { color: var(--link) }
.soft, figcaption { color: var(--soft); font-size: .9rem }
.wide { overflow-x: auto; margin: .75rem 0; border: 1px solid var(--line); border-radius: 6px }
.wide:focus-visible { outline: 2px solid var(--link) }
table { border-collapse: collapse; width: 100%; font-size: .88rem; font-variant-numeric: tabular-nums }
th, td { padding: .4rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line) }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 12rem }
thead th { background: var(--tint); font-weight: 600 } tbody tr:last-child td { border-bottom: 0 }
td small { color: var(--soft); display: block }
.plots { display: grid; gap: 1.25rem 1.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr));
  margin: 1rem 0; align-items: start }
figure { margin: 0 } img { width: 100%; max-width: 40rem; height: auto; display: block }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; padding: .5rem .8rem }
summary { cursor: pointer } summary b { font-variant-numeric: tabular-nums }
ol { margin: .5rem 0; padding-left: 1.6rem } li { margin: .4rem 0 }
.good { color: var(--good) } .bad { color: var(--bad) } .good, .bad { font-weight: 600 }
"""

PLOTS = '<div class="plots">'


def text(content: object) -> str:
    """Content as HTML text."""
    return html.escape(str(content))


def table_html(label: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as HTML, of which ``head`` and ``rows`` are. It scrolls by itself where it is wider than the page."""
    columns = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{text(label)}">'
        f"<table><thead><tr>{columns}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def make_folder(folder: Path) -> None:
    """Make the folder of a report. Raises EvaluationError where it cannot be written, or nothing is there to draw."""
    if find_spec("matplotlib") is None:
        raise EvaluationError("a report needs matplotlib, which is not installed; install searchapp[report]")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> EvaluationError:
    return EvaluationError(
        f"--report {folder} cannot be written: {error.strerror or error}; give a folder you can write to"
    )


@dataclass
class Page:
    """HTML pieces in order, and the plots among them."""

    title: str
    under: str = ""
    pieces: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)

    def heading(self, words: str, level: int = 2) -> None:
        """A heading of level 2 or 3."""
        self.pieces.append(f"<h{level}>{text(words)}</h{level}>")

    def paragraph(self, words: str, soft: bool = False) -> None:
        """A paragraph."""
        self.pieces.append(f"<p{' class=soft' if soft else ''}>{text(words)}</p>")

    def figure(self, figure: Figure) -> None:
        """A plot; those that follow each other stand side by side where there is room."""
        self.figures.append(figure)
        before = self.pieces.pop() if self.pieces and self.pieces[-1].startswith(PLOTS) else f"{PLOTS}</div>"
        self.pieces.append(f"{before.removesuffix('</div>')}{figure.html()}</div>")

    def table(self, label: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table, as ``table_html`` makes it."""
        self.pieces.append(table_html(label, head, rows))

    def fold(self, summary: str, body: str) -> None:
        """Something that opens when asked; both are HTML."""
        self.pieces.append(f"<details><summary>{summary}</summary>{body}</details>")

    def write(self, folder: Path) -> Path:
        """Write ``index.html`` and the plots' PNGs into a folder, and return the page's path.

        Raises EvaluationError where the folder cannot be written.
        """
        page = (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{text(self.title)}</title><style>{STYLE}</style></head><body><main><h1>{text(self.title)}</h1>"
            f'<p class="soft">{text(self.under)}</p>{"".join(self.pieces)}</main></body></html>\n'
        )
        make_folder(folder)
        try:
            for figure in self.figures:
                figure.save(folder)
            (folder / "index.html").write_text(page, encoding="utf-8", errors="replace")
        except OSError as error:
            raise _unwritable(folder, error) from error
        return folder / "index.html"
