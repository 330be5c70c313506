"""A report's files: the page, its figures as PNG and SVG, its numbers as CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from metarl.files import replace_file
from metarl.logging import log_images
from metarl.report.figures import Plate, adaptation, changes, gain, learning
from metarl.report.page import page
from metarl.report.picture import write_picture
from metarl.report.subject import Subject
from metarl.report.tables import curve_csv, task_csv
from metarl_envs import InputError


def write_report(
    subjects: Sequence[Subject],
    folder: Path,
    films: Mapping[str, Sequence[tuple[Path, str]]],
) -> list[Path]:
    """Write report.html, figures/ and the tables into `folder`: the files, the page first.

    Runs (not mere policy folders) get the figures in their TensorBoard events too.

    Args:
        subjects: runs of one family, with different names.
        folder: made if it is not there.
        films: by run, videos with what they show.

    Raises:
        InputError: for runs of several families, which have no figure in common.
    """
    families = {subject.family.name: subject.name for subject in subjects}
    if len(families) > 1:
        found = ", ".join(f"{run} is of {family}" for family, run in families.items())
        raise InputError(f"a report compares runs of one family: {found}; write one for each")
    plates = draw(subjects)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    contents = {
        folder / "report.html": page(subjects, plates, films),
        folder / "curves.csv": curve_csv(subjects),
        folder / "tasks.csv": task_csv(subjects),
    }
    for path, text in contents.items():
        replace_file(path, text.encode())
    drawn = {
        picture.name: write_picture(picture, folder / "figures")
        for plate in plates
        for picture in plate.pictures
    }
    for subject in subjects:
        if subject.metrics:
            images = {f"report/{name}": png for name, (png, _) in drawn.items()}
            log_images(subject.folder, images, subject.saved.metadata["env_steps"])
    return [*contents, *(path for paths in drawn.values() for path in paths)]


def draw(subjects: Sequence[Subject]) -> list[Plate]:
    """All figures, in the order of the page."""
    plates = [adaptation(subjects)]
    for subject in subjects:
        plates.append(gain(subject))
        if subject.change is not None:
            plates.append(changes(subject, subject.change))
    curves = learning(subjects)
    return plates if curves is None else [*plates, curves]
