"""The page: one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

from metarl.report import sentences as words
from metarl.report.clips import Film, fitting
from metarl.report.measured_run import Subject
from metarl.report.studies import Study
from metarl.report.style import Plate
from metarl.report.svg import inline
from metarl.report.tables import cost_table, gain_table, parameter_table, points_table, return_table
from metarl.versions import git_commit, versions

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1c2530; --soft: #56636f;
        --faint: #d5dbe1; --blue: #0072b2; --green: #009e73; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #12171d; --ink: #e6ebf0; --soft: #9aa7b4; --faint: #35404b;
          --blue: #4ba6e3; --green: #25bd92; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; background: var(--paper);
       color: var(--ink); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: clamp(1.2rem, 1rem + 1vw, 1.6rem); line-height: 1.35; font-weight: 650;
     max-width: 50rem; margin: .6rem 0; text-wrap: balance; }
h2 { display: inline; font-size: 1.1rem; } h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; }
p, ul, dl { max-width: 52rem; } ul { padding-left: 1.2rem; } li { margin: .3rem 0; }
.soft { color: var(--soft); font-size: .95rem; }
figure { margin: 0; } svg { width: 100%; height: auto; display: block; }
figcaption { font-weight: 600; margin: 0 0 .4rem; }
.film figcaption { color: var(--soft); font-size: .9rem; font-weight: 400; margin: .4rem 0 0; }
 svg text { font-family: system-ui, sans-serif; }
video, img { width: 100%; display: block; border-radius: .4rem; }
.seen { display: grid; gap: 1.5rem 2.5rem; margin: 1.4rem 0 1.8rem; align-items: start;
        grid-template-columns: repeat(auto-fit, minmax(min(28rem, 100%), 1fr)); }
.seen figure { max-width: 38rem; } .seen .plate { display: block; margin: 0; }
.seen figcaption { color: var(--soft); font-size: .9rem; font-weight: 400; }
.plate, .films { display: grid; gap: 1rem; margin-bottom: 1.6rem;
                 grid-template-columns: repeat(auto-fill, minmax(min(21rem, 100%), 1fr)); }
.films { grid-template-columns: repeat(auto-fill, minmax(min(30rem, 100%), 1fr)); }
details.part { border-top: 1px solid var(--faint); } details.part:last-of-type {
        border-bottom: 1px solid var(--faint); }
summary { cursor: pointer; padding: .7rem 0; } details details summary { padding: .2rem 0; }
.part > :last-child { margin-bottom: 1.4rem; }
.wide { overflow-x: auto; margin: .3rem 0 1rem; } table { border-spacing: 0; font-size: .86rem; }
th, td { padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--faint); text-align: left;
         font-variant-numeric: tabular-nums; vertical-align: top; overflow-wrap: break-word; }
thead th { vertical-align: bottom; color: var(--soft); font-weight: 600; }
tbody th { max-width: 16rem; overflow-wrap: anywhere; }
.interval { white-space: nowrap; color: var(--soft); }
code { font-size: .85rem; overflow-wrap: anywhere; } dd { margin: 0 0 .4rem 1rem; }
@media (max-width: 52rem) {
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table, tbody, tr, th, td { display: block; border: 0; max-width: 100%; padding: 0; }
  tr { border-bottom: 1px solid var(--faint); padding: .5rem 0; }
  td { display: grid; grid-template-columns: 9.5rem 1fr; gap: .6rem; padding: .1rem 0; }
  td::before { content: attr(data-title); color: var(--soft); } }
@media print {
  :root { color-scheme: light; --paper: #ffffff; --ink: #1c2530; --soft: #56636f;
          --faint: #d5dbe1; --blue: #0072b2; --green: #009e73; }
  body { max-width: none; font-size: 10pt; }
  details::details-content { content-visibility: visible; block-size: auto; }
  .wide { overflow-x: visible; } table { font-size: 7.5pt; }
  figure, tr, h3 { break-inside: avoid; } h2, h3, summary { break-after: avoid; } }
"""
FILMED = (
    "Both halves start alike and take the mean action; all that differs is the adaptation. Every "
    "method meets the same tasks: the one with the median gain over methods first. Of several "
    "seeds the one with the median return is shown."
)


def page(study: Study, plates: Sequence[Plate], films: Sequence[Film]) -> str:
    """The report as HTML.

    Args:
        study: methods of one family.
        plates: in the order in which they are shown; those of a single method come together.
        films: videos (mp4 or GIF) with what they show in words.
    """
    title = html.escape(words.title(study))
    shown = fitting(films)
    body = [
        *_opening(study, plates, shown[:1]),
        *_part("Films", _films(films, shown)),
        *_part("Numbers, with intervals", _numbers(study)),
        *_part("Figures, with intervals", [figure(p) for p in _further(plates) if not p.method]),
        *_part("Method by method", [figure(plate) for plate in plates if plate.method]),
        *_part("Every point of the curves", [points_table(study)] if study.adapting else []),
        *_part("How the numbers were measured", _notes(study)),
        *_part("What was trained", _trained(study)),
        *_part("At what cost", [cost_table(study.subjects)]),
        *_part("Provenance", [provenance(subject) for subject in study.subjects]),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n"
        f"<body>\n<main>\n{chr(10).join(body)}\n</main>\n</body></html>\n"
    )


def _opening(study: Study, plates: Sequence[Plate], films: Sequence[Film]) -> list[str]:
    """What is read without opening anything: a sentence, a film and a curve."""
    others = "".join(f"<li>{html.escape(text)}</li>" for text in words.other_sentences(study))
    seen = [*map(show, films), *(figure(plate) for plate in plates if plate.opening)]
    return [
        f"<h1>{html.escape(words.first_sentence(study))}</h1>",
        f'<p class="soft">{html.escape(words.basis(study))}</p>',
        *([f'<div class="seen">{"".join(seen)}</div>'] if seen else []),
        *([f"<ul>{others}</ul>"] if others else []),
    ]


def _part(title: str, content: Sequence[str]) -> list[str]:
    """A folded part of the page; none without content."""
    if not content:
        return []
    summary = f"<summary><h2>{html.escape(title)}</h2></summary>"
    return [f'<details class="part">{summary}', *content, "</details>"]


def _further(plates: Sequence[Plate]) -> list[Plate]:
    return [plate for plate in plates if not plate.opening]


def _films(films: Sequence[Film], shown: Sequence[Film]) -> list[str]:
    """How films were made, and those beyond the first."""
    if not films:
        return []
    body = [f"<p>{FILMED}</p>", f'<div class="films">{"".join(map(show, shown[1:]))}</div>']
    if left := len(films) - len(shown):
        body.append(f"<p>{left} more in the folder videos, too large for a page.</p>")
    return body


def _numbers(study: Study) -> list[str]:
    """Every method in a line, and in tables for each kind of tasks."""
    items = [
        f"<li><strong>{html.escape(group.label)}</strong>: "
        f"{html.escape(words.headline(study, group))}</li>"
        for group in study.adapting
    ]
    beside = [words.introduction(study), words.baselines(study), words.gap(study)]
    tables = [
        f"<h3>{html.escape(f'{words.counted(study, split)} ({split})')}</h3>"
        f"{return_table(study, split)}{gain_table(study, split)}"
        for split in study.splits
    ]
    paragraphs = [f"<p>{html.escape(text)}</p>" for text in beside if text]
    return [*paragraphs, *([f"<ul>{''.join(items)}</ul>"] if items else []), *tables]


def _notes(study: Study) -> list[str]:
    return [f"<ul>{''.join(f'<li>{html.escape(note)}</li>' for note in words.notes(study))}</ul>"]


def _trained(study: Study) -> list[str]:
    """The family's parameters and where it comes from."""
    source = [f"<p>{html.escape(study.family.source)}</p>"] if study.family.source else []
    return [*source, parameter_table(study)]


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
    return (
        f'<figure class="film">{shown}<figcaption>{html.escape(film.words)}</figcaption></figure>'
    )


def provenance(subject: Subject) -> str:
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
    return f"<h3>{html.escape(f'{subject.label} ({subject.name})')}</h3><dl>{items}</dl>"
