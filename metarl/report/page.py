"""The page: one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from metarl.report.figures import Plate
from metarl.report.picture import inline
from metarl.report.subject import Subject
from metarl.report.tables import curve_table, parameter_table, table
from metarl.versions import git_commit, versions

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1c2530; --soft: #5b6875;
        --faint: #d5dbe1; --accent: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #12171d; --ink: #e6ebf0; --soft: #9aa7b4; --faint: #35404b;
          --accent: #56b4e9; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1rem; background: var(--paper);
       color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 1rem 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; }
.lead { font-size: 1.1rem; } .soft, figcaption { color: var(--soft); font-size: .9rem; }
figure { margin: 1rem 0; } svg { width: 100%; height: auto; display: block; }
svg text { font-family: system-ui, sans-serif; }
video, img { width: 100%; display: block; border-radius: .4rem; }
.films, .plate { display: grid; gap: 1rem;
                 grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); }
.plate > :only-child { max-width: 36rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .88rem; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--faint); text-align: left;
         font-variant-numeric: tabular-nums; }
td:first-child { font-weight: 600; min-width: 9rem; }
td:nth-child(n+2):not(:last-child) { white-space: nowrap; }
code { font-size: .85rem; overflow-wrap: anywhere; } details { margin: .5rem 0; }
"""


def page(
    subjects: Sequence[Subject],
    plates: Sequence[Plate],
    films: Mapping[str, Sequence[tuple[Path, str]]],
) -> str:
    """The report as HTML.

    Args:
        subjects: at least one run, all of the same family.
        plates: in the order in which they are shown.
        films: by run, videos (mp4 or GIF) with what they show in words.
    """
    family = subjects[0].family
    title = f"{family.name}: {' against '.join(dict.fromkeys(s.method for s in subjects))}"
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        *(f'<p class="lead">{html.escape(headline(subject))}</p>' for subject in subjects),
        "<h2>Adaptation</h2>",
        f'<p class="soft">{html.escape(subjects[0].evaluation.note)}. Mean return of fresh '
        "episodes after each step; brackets and bands are 95 % bootstrap intervals over tasks; "
        "the final policy, never the best one.</p>",
        curve_table(subjects),
        *(figure(plate) for plate in plates),
    ]
    if any(films.values()):
        parts += ["<h2>Before and after</h2>", '<div class="films">']
        parts += [film(path, words) for shown in films.values() for path, words in shown]
        parts += ["</div>"]
    parts += ["<h2>What was trained</h2>"]
    parts += [f"<p>{html.escape(family.source)}</p>"] if family.source else []
    parts += [parameter_table(subjects[0]), "<h2>At what cost</h2>", cost_table(subjects)]
    parts += ["<h2>Provenance</h2>", *(provenance(subject) for subject in subjects)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body>\n{chr(10).join(parts)}\n</body></html>\n"
    )


def headline(subject: Subject) -> str:
    """What a buyer wants to know first, in a sentence."""
    by_split = {result.split: result for result in subject.evaluation.splits}
    result = by_split.get("test") or by_split["train"]
    first, *_, last = subject.evaluation.curve(result)
    held_out = "held-out tasks" if result.split == "test" else "the tasks it was trained on"
    steps = f"{last.gradient_steps} gradient step{'s' if last.gradient_steps > 1 else ''}"
    certain = last.gain.low > 0
    return (
        f"{subject.label}: on {held_out}, {steps} on {last.adaptation_episodes} episodes "
        f"change{'s' if last.gradient_steps == 1 else ''} the return from "
        f"{first.returns.estimate:.1f} to {last.returns.estimate:.1f}"
        f"{'' if certain else ', which is not distinguishable from no gain'}."
    )


def figure(plate: Plate) -> str:
    """Pictures with their caption."""
    drawn = "".join(f"<div>{inline(picture)}</div>" for picture in plate.pictures)
    caption = f"<figcaption>{html.escape(plate.title)}</figcaption>"
    return f'<figure>{caption}<div class="plate">{drawn}</div></figure>'


def film(path: Path, words: str) -> str:
    """A video inside the page."""
    data = base64.b64encode(path.read_bytes()).decode()
    label = html.escape(words, quote=True)
    if path.suffix == ".mp4":
        shown = (
            f'<video controls loop muted playsinline aria-label="{label}" '
            f'src="data:video/mp4;base64,{data}"></video>'
        )
    else:
        shown = f'<img alt="{label}" src="data:image/gif;base64,{data}">'
    return f"<figure>{shown}<figcaption>{html.escape(words)}</figcaption></figure>"


def cost_table(subjects: Sequence[Subject]) -> str:
    """Environment steps, iterations and hours."""
    rows = []
    for subject in subjects:
        config, metadata = subject.saved.config, subject.saved.metadata
        rows.append([
            subject.label,
            f"{metadata.get('env_steps', 0):,}",
            f"{metadata.get('iteration', 0):,}",
            f"{config.meta_batch_size} x {config.episodes_per_task} x {config.horizon}",
            f"{subject.hours:.2f}" if subject.metrics else "-",
        ])  # fmt: skip
    head = ["run", "environment steps", "iterations", "tasks x episodes x steps", "hours"]
    return table(head, rows)


def provenance(subject: Subject) -> str:
    """Everything that is needed to make the run again."""
    metadata = subject.saved.metadata
    trained = ", ".join(f"{k} {v}" for k, v in metadata.get("versions", {}).items())
    now = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines = [
        ("commands", "; ".join(subject.commands) or "not recorded"),
        ("seed", str(subject.saved.config.seed)),
        ("trained with", f"{trained}; commit {metadata.get('commit') or 'not recorded'}"),
        ("weights", f"sha256 {metadata.get('sha256', 'not recorded')}"),
        ("measured with", f"{now}; commit {git_commit() or 'not recorded'}"),
    ]
    items = "".join(
        f"<dt>{name}</dt><dd><code>{html.escape(text)}</code></dd>" for name, text in lines
    )
    summary = f"<summary>{html.escape(subject.label)}</summary>"
    return f"<details open>{summary}<dl>{items}</dl></details>"
