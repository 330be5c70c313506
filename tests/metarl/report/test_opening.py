"""Opening of a report and its folded parts: studies of given numbers."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.text import Annotation, Text
from support.made_study import adapting, fixed, made

from metarl.report.clips import Film
from metarl.report.line_labels import box_of
from metarl.report.opening import opening
from metarl.report.page import page
from metarl.report.sentences import basis, first_sentence
from metarl.report.writer import draw


@pytest.fixture(scope="module")
def study():
    return made(
        fixed("random", -230.0),
        adapting("finetuned", -95.0, -95.0, -95.0, -95.0, -95.0, other=-95.0),
        fixed("robust", -95.0, seeds=3),
        adapting("meta-sgd", -110, -106, -60, -40, -34, other=-134, seeds=3, scatter=2),
        fixed("oracle", -5.0, seeds=3),
    )


@pytest.fixture(scope="module")
def text(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    films = [Film(folder / f"{rank}.mp4", f"film {rank}", rank) for rank in range(2)]
    for film in films:
        film.path.write_bytes(b"film")
    return page(study, draw(study), films)


def test_the_method_that_ends_highest_comes_first(study):
    assert study.lead is not None and study.lead.label == "Meta-SGD"
    # -34, -32 and -30 in the mean: 63 of 90 from -95 to -5.
    assert "Meta-SGD has come about two thirds of the way" in first_sentence(study)
    assert "3 trainings" in basis(study) and "one training" not in basis(study)
    assert "Of 2 methods that adapt" in basis(study)


def test_the_order_is_sentence_film_curve_then_folded_parts(text):
    marks = ["<h1>After 20 episodes", "film 0", 'aria-label="Adaptation curve.', "<details", "IQM"]
    places = [text.index(mark) for mark in marks]
    assert places == sorted(places)
    opened = text[: text.index("<details")].partition("<main>")[2]
    assert "<table" not in opened and "IQM" not in opened
    assert opened.count("<video") == 1 and opened.count("<svg") == 1
    assert not re.search("interval|seed [0-9]", re.sub(r"<svg.*?</svg>", "", opened, flags=re.S))
    assert "<details open" not in text and " open>" not in text
    # What is folded is printed.
    assert "@media print" in text and "details::details-content" in text


def test_every_table_has_a_box_to_scroll_in_and_titles_for_narrow_pages(text):
    tables = text.count("<table>")
    assert tables == text.count('<div class="wide" tabindex="0"><table>') == 5
    assert re.search(r"\.wide \{ overflow-x: auto;", text)
    for table in re.findall("<table>.*?</table>", text, flags=re.S):
        head = re.findall(r'<th scope="col">(.*?)</th>', table)
        for row in re.findall('<tr><th scope="row">.*?</tr>', table):
            assert re.findall('data-title="(.*?)"', row) == head[1:]
            assert len(head) <= 10


def test_headings_are_in_order_and_pictures_have_words(text):
    levels = [int(level) for level in re.findall(r"<h([1-6])", text)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert text.count("<svg ") == text.count('role="img" aria-label="')
    assert text.count("<video ") == text.count("<video controls") == 2
    assert len(re.findall(r'<video [^>]*aria-label="film', text)) == 2


def test_the_curve_names_its_lines_at_their_ends_and_no_label_overlaps(study):
    plate = opening(study)
    assert plate is not None
    (picture,) = plate.pictures
    figure = picture.figure
    figure.draw_without_rendering()
    names = [label for label in figure.findobj(Annotation) if label.get_text()]
    assert [name.get_text().replace("\n", " ") for name in names] == [
        "robust: never adapts",
        "oracle: observes the task",
        "Meta-SGD",
        "with another task's adaptation",
    ]
    others = [
        shown
        for shown in figure.findobj(Text)
        if shown.get_text() and shown.get_visible() and not isinstance(shown, Annotation)
    ]
    boxes = [*map(box_of, names), *(other.get_window_extent() for other in others)]
    assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    assert all(box.x1 <= figure.bbox.x1 + 1 for box in boxes)
    assert figure.axes[0].get_legend() is None and not figure.legends
    assert "each training" in plate.title
    assert "Meta-SGD returns -110 before adapting, " in picture.alt
    assert "Robust PPO, which never adapts: -95.0" in picture.alt


def test_lines_that_end_together_keep_their_names_apart():
    levels = (-9.0, -8.0, -7.0, -5.1)
    found = made(
        adapting("meta-sgd", -10.0, *levels, other=-5.2),
        fixed("robust", -5.0),
        fixed("oracle", -4.9),
    )
    plate = opening(found)
    assert plate is not None
    figure = plate.pictures[0].figure
    figure.draw_without_rendering()
    boxes = [box_of(label) for label in figure.findobj(Annotation) if label.get_text()]
    assert len(boxes) == 4
    assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]


def test_one_training_is_said_to_be_one():
    found = made(adapting("promp", 4.0, 3.5, 3.0, 5.0, 9.0, other=9.5))
    assert "ProMP returns 9.0, up from 4.0, but the gain is not adaptation" in first_sentence(found)
    assert "This is one training" in basis(found)


def test_what_diverged_everywhere_has_a_sentence_and_no_curve():
    (subject,) = adapting("promp", 4.0, 9.0, other=5.0)
    (result,) = subject.evaluation.splits
    lost = replace(result, returns=np.full_like(result.returns, np.nan))
    found = made([replace(subject, evaluation=replace(subject.evaluation, splits=(lost,)))])
    assert first_sentence(found).startswith("ProMP diverged on every task")
    assert "5 more tasks are left out" in basis(found)
    assert opening(found) is None
