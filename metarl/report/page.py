"""The page: one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from metarl.report import sentences as words
from metarl.report import tables
from metarl.report.clips import Film, fitting
from metarl.report.measured_run import Subject
from metarl.report.studies import Study
from metarl.report.style import Plate
from metarl.report.svg import inline
from metarl.versions import git_commit, versions


def page(study: Study, plates: Sequence[Plate], films: Sequence[Film]) -> str:
    """The report as HTML, from the template beside this file.

    Args:
        study: methods of one family.
        plates: in the order in which they are shown; those of a single method come together.
        films: videos (mp4 or GIF) with what they show in words.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    shown = fitting(films)
    return environment.get_template("page.html").render(
        study=study,
        words=words,
        tables=tables,
        inline=inline,
        provenance=provenance,
        films=shown,
        left_out=len(films) - len(shown),
        opening=[plate for plate in plates if plate.opening],
        shared=[plate for plate in plates if not plate.opening and not plate.method],
        own=[plate for plate in plates if plate.method],
    )


def provenance(subject: Subject) -> list[tuple[str, str]]:
    """Everything that is needed to repeat the run, by name."""
    metadata = subject.saved.metadata
    trained = ", ".join(f"{k} {v}" for k, v in metadata.get("versions", {}).items())
    now = ", ".join(f"{name} {version}" for name, version in versions().items())
    return [
        ("measured", f"{subject.evaluation.policy}; {subject.evaluation.measured_by}"),
        ("commands", "; ".join(subject.commands) or "not recorded"),
        ("seed", str(subject.saved.config.seed)),
        ("trained with", f"{trained}; commit {metadata.get('commit') or 'not recorded'}"),
        ("weights", f"sha256 {metadata.get('sha256', 'not recorded')}"),
        ("measured with", f"{now}; commit {git_commit() or 'not recorded'}"),
    ]
