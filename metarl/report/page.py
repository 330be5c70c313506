"""The page: one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

from metarl.report import words
from metarl.report.drawing import Plate
from metarl.report.films import Film, fitting
from metarl.report.groups import Study
from metarl.report.picture import inline
from metarl.report.subject import Subject
from metarl.report.tables import comparison_table, cost_table, parameter_table, points_table
from metarl.versions import git_commit, versions

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1c2530; --soft: #5b6875;
        --faint: #d5dbe1; --blue: #0072b2; --green: #009e73; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #12171d; --ink: #e6ebf0; --soft: #9aa7b4; --faint: #35404b;
          --blue: #4ba6e3; --green: #25bd92; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; background: var(--paper);
       color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 1rem 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .5rem; } h3 { font-size: 1rem; margin: 1.2rem 0 .2rem; }
p, ul, dl { max-width: 52rem; } ul { padding-left: 1.2rem; } li { margin: .3rem 0; }
.lead { font-size: 1.1rem; } .soft, figcaption { color: var(--soft); font-size: .9rem; }
figure { margin: 1.2rem 0; } svg { width: 100%; height: auto; display: block; }
figcaption { color: var(--ink); font-weight: 600; }
.films figcaption { color: var(--soft); font-weight: 400; }
svg text { font-family: system-ui, sans-serif; }
video, img { width: 100%; display: block; border-radius: .4rem; }
.films, .plate { display: grid; gap: 1rem;
                 grid-template-columns: repeat(auto-fill, minmax(min(21rem, 100%), 1fr)); }
.films { grid-template-columns: repeat(auto-fill, minmax(min(30rem, 100%), 1fr)); }
.wide { overflow-x: auto; } table { border-spacing: 0; font-size: .88rem; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--faint); text-align: left;
         font-variant-numeric: tabular-nums; }
th { vertical-align: bottom; } td:nth-child(n+2):not(:last-child) { white-space: nowrap; }
th:first-child, td:first-child { position: sticky; left: 0; background: var(--paper); }
td:first-child { font-weight: 600; }
.about td:last-child { min-width: 14rem; }
.numbers td { white-space: nowrap; } .numbers table { font-size: .82rem; }
.numbers th, .numbers td { padding: .3rem .45rem; }
code { font-size: .85rem; overflow-wrap: anywhere; } details { margin: .5rem 0; }
summary { cursor: pointer; } dd { margin: 0 0 .4rem 1rem; }
@media (max-width: 40rem) { td:first-child { max-width: 8.5rem; white-space: normal !important; } }
"""
FILMED = (
    "Both halves start alike and take the mean action; all that differs is the adaptation. Every "
    "method meets the same tasks: the one with the median gain over methods first. Of several "
    "seeds the one with the median return is shown."
)
OPEN = 2
"""So many runs have their provenance unfolded."""


def page(study: Study, plates: Sequence[Plate], films: Sequence[Film]) -> str:
    """The report as HTML.

    Args:
        study: methods of one family.
        plates: in the order in which they are shown; those of a single method come together.
        films: videos (mp4 or GIF) with what they show in words.
    """
    title = html.escape(words.title(study))
    body = [f"<h1>{title}</h1>", *_opening(study), "<h2>Methods compared</h2>"]
    for split in study.splits:
        body.append(f"<h3>{html.escape(f'{words.counted(study, split)} ({split})')}</h3>")
        body.append(f'<div class="numbers">{comparison_table(study, split)}</div>')
    body += [figure(plate) for plate in plates if not plate.method]
    body += _points(study)
    if alone := [plate for plate in plates if plate.method]:
        body += ["<h2>Method by method</h2>", *(figure(plate) for plate in alone)]
    if shown := fitting(films):
        body += ["<h2>Before and after</h2>", f'<p class="soft">{FILMED}</p>']
        body += ['<div class="films">', *map(show, shown), "</div>"]
    if left := len(films) - len(shown):
        body.append(f'<p class="soft">{left} more in the folder videos, too large for a page.</p>')
    body += ["<h2>What was trained</h2>"]
    body += [f"<p>{html.escape(study.family.source)}</p>"] if study.family.source else []
    body += [
        f'<div class="about">{parameter_table(study)}</div>',
        "<h2>At what cost</h2>",
        cost_table(study.subjects),
    ]
    body += ["<h2>Provenance</h2>"]
    unfolded = len(study.subjects) <= OPEN
    body += [provenance(subject, unfolded=unfolded) for subject in study.subjects]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n"
        f"<body>\n{chr(10).join(body)}\n</body></html>\n"
    )


def _opening(study: Study) -> list[str]:
    """The first lines: what, at what cost, and what adaptation gained."""
    items = [
        f"<li><strong>{html.escape(group.label)}</strong>: "
        f"{html.escape(words.headline(study, group))}</li>"
        for group in study.adapting
    ]
    beside = [words.baselines(study), words.gap(study)]
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in words.notes(study))
    return [
        f'<p class="lead">{html.escape(words.introduction(study))}</p>',
        *([f'<ul class="lead">{"".join(items)}</ul>'] if items else []),
        *(f"<p>{html.escape(text)}</p>" for text in beside if text),
        '<details class="soft"><summary>How to read the numbers</summary>'
        f"<ul>{notes}</ul></details>",
    ]


def _points(study: Study) -> list[str]:
    """The curves as tables, folded."""
    if not study.adapting:
        return []
    tables = [("Mean return after so many episodes", points_table(study, closed=False))]
    if any(row.closed for row in study.rows):
        tables.append(
            ("Share of the gap closed after so many episodes", points_table(study, closed=True))
        )
    return [
        f'<details class="numbers"><summary>{title}</summary>{shown}</details>'
        for title, shown in tables
    ]


def figure(plate: Plate) -> str:
    """Pictures with their caption."""
    drawn = "".join(f"<div>{inline(picture)}</div>" for picture in plate.pictures)
    caption = f"<figcaption>{html.escape(plate.title)}</figcaption>"
    return f'<figure>{caption}<div class="plate">{drawn}</div></figure>'


def show(film: Film) -> str:
    """A video inside the page."""
    data = base64.b64encode(film.path.read_bytes()).decode()
    label = html.escape(film.words, quote=True)
    if film.path.suffix == ".mp4":
        shown = (
            f'<video controls loop muted playsinline preload="metadata" aria-label="{label}" '
            f'src="data:video/mp4;base64,{data}"></video>'
        )
    else:
        shown = f'<img alt="{label}" src="data:image/gif;base64,{data}">'
    return f"<figure>{shown}<figcaption>{html.escape(film.words)}</figcaption></figure>"


def provenance(subject: Subject, *, unfolded: bool) -> str:
    """Everything that is needed to make the run again."""
    metadata = subject.saved.metadata
    trained = ", ".join(f"{k} {v}" for k, v in metadata.get("versions", {}).items())
    now = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines = [
        ("measured", f"{subject.evaluation.policy}; {subject.evaluation.measured_by}"),
        ("commands", "; ".join(subject.commands) or "not recorded"),
        ("seed", str(subject.saved.config.seed)),
        ("trained with", f"{trained}; commit {metadata.get('commit') or 'not recorded'}"),
        ("weights", f"sha256 {metadata.get('sha256', 'not recorded')}"),
        ("measured with", f"{now}; commit {git_commit() or 'not recorded'}"),
    ]
    items = "".join(
        f"<dt>{name}</dt><dd><code>{html.escape(text)}</code></dd>" for name, text in lines
    )
    summary = f"<summary>{html.escape(f'{subject.label} ({subject.name})')}</summary>"
    return f"<details{' open' if unfolded else ''}>{summary}<dl>{items}</dl></details>"
