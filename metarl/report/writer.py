"""A report's files: the page, its figures as PNG and SVG, its numbers as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metarl.report.clips import Film
from metarl.report.csv_files import curve_csv, learning_csv, method_csv, task_csv
from metarl.report.figures import adaptation, learning, shares
from metarl.report.opening import opening
from metarl.report.page import page
from metarl.report.studies import Group, Study
from metarl.report.style import Plate
from metarl.report.svg import write_picture
from metarl.report.task_figures import changes, gain
from metarl.runs.files import replace_file
from metarl.runs.metrics_log import log_images


def write_report(study: Study, folder: Path, films: Sequence[Film] = ()) -> list[Path]:
    """Write report.html, figures/ and the tables into `folder`: the files, the page first.

    Runs (not mere policy folders) get the figures in their TensorBoard events too: those in which
    methods meet, and those of their own method.

    Args:
        study: methods of one family.
        folder: made if it is not there.
        films: videos with what they show.
    """
    plates = draw(study)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    contents = {
        folder / "report.html": page(study, plates, films),
        folder / "methods.csv": method_csv(study),
        folder / "curves.csv": curve_csv(study),
        folder / "tasks.csv": task_csv(study),
        folder / "learning.csv": learning_csv(study),
    }
    for path, text in contents.items():
        replace_file(path, text.encode())
    drawn = {
        picture.name: write_picture(picture, folder / "figures")
        for plate in plates
        for picture in plate.pictures
    }
    for group in study.groups:
        log_figures(group, plates, {name: png for name, (png, _) in drawn.items()})
    return [*contents, *(path for paths in drawn.values() for path in paths)]


def log_figures(group: Group, plates: Sequence[Plate], pngs: dict[str, Path]) -> None:
    """Show the figures under TensorBoard's Images tab in each run of a method."""
    images = {
        f"report/{picture.name}": pngs[picture.name]
        for plate in plates
        if plate.method in ("", group.label)
        for picture in plate.pictures
    }
    for subject in group.subjects:
        if subject.metrics:
            log_images(subject.folder, images, subject.saved.metadata["env_steps"])


def draw(study: Study) -> list[Plate]:
    """All figures, in the order of the page."""
    plates = [opening(study), *adaptation(study), shares(study), learning(study)]
    for group in study.adapting:
        plates += [gain(group), changes(group)]
    return [plate for plate in plates if plate is not None]
