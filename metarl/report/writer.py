"""A report's files: the page, its figures as PNG and SVG, its numbers as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metarl.report.clips import Film
from metarl.report.csv_files import write_tables
from metarl.report.figures import adaptation, first_episode, learning, shares
from metarl.report.opening import opening
from metarl.report.page import page
from metarl.report.studies import Study
from metarl.report.style import Plate
from metarl.report.svg import write_picture
from metarl.report.task_figures import changes, gain
from metarl.runs.files import replace_file
from metarl.runs.metrics_log import log_images


def write_report(study: Study, folder: Path, films: Sequence[Film] = ()) -> list[Path]:
    """Write report.html, figures/ and the tables into `folder`: the files, the page first.

    Runs (not mere policy folders) get the figures in their TensorBoard events too: those of all
    methods, and those of their own method.

    Args:
        study: methods of one family.
        folder: made if it is not there.
        films: videos with their captions.
    """
    plates = draw(study)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    html = folder / "report.html"
    replace_file(html, page(study, plates, films).encode())
    drawn = [
        (plate.method, picture.name, write_picture(picture, folder / "figures"))
        for plate in plates
        for picture in plate.pictures
    ]
    for group in study.groups:
        own = [(name, png) for method, name, (png, _) in drawn if method in ("", group.label)]
        for subject in (subject for subject in group.subjects if subject.metrics):
            images = {f"report/{name}": png for name, png in own}
            log_images(subject.folder, images, subject.saved.metadata["env_steps"])
    figures = [path for _, _, paths in drawn for path in paths]
    return [html, *write_tables(study, folder), *figures]


def draw(study: Study) -> list[Plate]:
    """All figures, in the order of the page."""
    plates = [opening(study), *adaptation(study), first_episode(study)]
    plates += [shares(study), learning(study)]
    for group in study.adapting:
        plates += [gain(group), changes(group)]
    return [plate for plate in plates if plate is not None]
