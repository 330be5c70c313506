import csv
import dataclasses
import itertools
import json
import sys

import numpy as np
import pytest
from matplotlib.text import Annotation, Text
from PIL import Image
from support.tiny import tiny_policy

from metarl.errors import RunError
from metarl.evaluation.evaluate import evaluate
from metarl.report import curves as reporting
from metarl.report.curves import learning_curve, parts_of, smooth, write_evaluation
from metarl.report.line_labels import box_of
from metarl_envs import InputError


@pytest.fixture(scope="module")
def evaluation():
    return evaluate(tiny_policy("navigation"), num_tasks=3, steps=2, episodes_per_step=2)


def colours(path) -> set[tuple[int, ...]]:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.width >= 900 and picture.height >= 600
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    return {tuple(colour) for colour in np.unique(pixels, axis=0).tolist()}


def test_files_hold_the_evaluation(evaluation, tmp_path):
    paths = write_evaluation(evaluation, tmp_path / "new" / "folder")
    assert [path.name for path in paths] == [
        "evaluation.csv",
        "evaluation.json",
        "adaptation_curve.png",
    ]
    with paths[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "split",
        "task",
        "goal_0",
        "goal_1",
        "gradient_steps",
        "adaptation_episodes",
        "return",
        "return_of_another_task",
        "return_of_mean",
        "distance_to_goal_m",
    ]
    assert len(rows) == 3 * 3 * 3  # splits, tasks, steps
    for row, record in zip(rows, evaluation.records(), strict=True):
        assert row["split"] == record["split"]
        assert float(row["return"]) == record["return"]
        found, made = (float(r["return_of_another_task"]) for r in (row, record))
        np.testing.assert_equal(found, made)  # NaN before adaptation
        assert int(row["adaptation_episodes"]) == 2 * int(row["gradient_steps"])
    summary = json.loads(paths[1].read_text())
    point = evaluation.curve(evaluation.splits[1])[2]
    written = summary["splits"]["test"]["curve"][2]
    assert written["return"] == list(point.returns)
    assert written["gain"] == list(point.gain)
    assert summary["splits"]["test"]["tasks"] == 3


def test_adaptation_curve_shows_every_split_in_its_colour(evaluation, tmp_path):
    *_, figure = write_evaluation(evaluation, tmp_path)
    assert {(0, 0x72, 0xB2), (0xD5, 0x5E, 0), (0, 0x9E, 0x73)} <= colours(figure)


def drawn(monkeypatch, evaluation):
    """The figure that an evaluation is drawn as, laid out."""
    kept = []
    monkeypatch.setattr(reporting, "_save", lambda figure, path: kept.append(figure) or path)
    reporting.adaptation_curve(evaluation, "nowhere")
    kept[0].draw_without_rendering()
    return kept[0]


@pytest.mark.parametrize("family", ["navigation", "half-cheetah-direction"])
@pytest.mark.parametrize(("steps", "over_episodes"), [(1, True), (2, False)])
def test_labels_of_a_curve_over_budgets_do_not_overlap(monkeypatch, family, steps, over_episodes):
    found = evaluate(
        tiny_policy(family), num_tasks=4, steps=steps, episodes_per_step=20, budgets=(1, 2, 5)
    )
    figure = drawn(monkeypatch, found.over_episodes() if over_episodes else found)
    texts = [
        text
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text() and not isinstance(text, Annotation)
    ]
    boxes = [text.get_window_extent() for text in texts]
    ends = [text for text in figure.findobj(Annotation) if "task" in text.get_text()]
    boxes += [box_of(text) for text in figure.findobj(Annotation) if text.get_text()]
    assert len(ends) == {"navigation": 4, "half-cheetah-direction": 2}[family]  # splits, and a note
    assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    axes = figure.axes[0]
    assert axes.get_legend() is None
    if over_episodes:  # one number of gradient steps: said once
        assert axes.get_xlabel() == "adaptation episodes, 1 gradient step on them"
        ticks = [tick.get_text() for tick in axes.get_xticklabels() if tick.get_visible()]
        assert ticks == ["0", "1", "2", "5", "20"]


def test_the_curve_of_what_does_not_adapt_says_so(monkeypatch, evaluation):
    once = dataclasses.replace(evaluation, adapts=False)
    texts = [text.get_text() for text in drawn(monkeypatch, once).findobj(Text)]
    assert any("the policy does not adapt: it is measured once" in text for text in texts)
    assert not any("gradient step" in text for text in texts)


def test_without_matplotlib_the_numbers_are_written_and_the_extra_is_named(
    evaluation, tmp_path, monkeypatch
):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'metarl-robotics\[plot\]'"):
        write_evaluation(evaluation, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"evaluation.csv", "evaluation.json"}


def test_learning_curve_draws_both_returns_and_bears_gaps(tmp_path):
    with (tmp_path / "metrics.jsonl").open("w") as file:
        for i in range(1, 41):
            line = {
                "iteration": i,
                "rollout/env_steps": 50_000 * i,
                "rollout/return_pre": 0.0,
                "rollout/return_post": None if i == 7 else 2.0 * i,
            }
            file.write(json.dumps(line) + "\n")
    path = learning_curve(tmp_path, tmp_path / "figures" / "curve.png")
    assert {(0, 0x72, 0xB2), (0xE6, 0x9F, 0)} <= colours(path)


def test_learning_curve_draws_what_validation_tasks_returned_if_there_were_any(tmp_path):
    def curve(**evaluated):
        with (tmp_path / "metrics.jsonl").open("w") as file:
            for i in range(1, 5):
                line = {"iteration": i, "rollout/env_steps": 100 * i, "rollout/return_post": 0.0}
                file.write(json.dumps(line | (evaluated if i % 2 == 0 else {})) + "\n")
        return colours(learning_curve(tmp_path, tmp_path / "curve.png"))

    validation = (0xD5, 0x5E, 0)
    assert validation not in curve()
    assert validation in curve(**{"eval/return_post": 1.0, "eval/return_other": None})


def test_phases_are_drawn_apart_and_named(tmp_path):
    phases = ["teacher"] * 30 + ["imitation"] * 10
    assert parts_of(phases) == [("teacher", slice(0, 30)), ("imitation", slice(30, 40))]
    with (tmp_path / "metrics.jsonl").open("w") as file:
        for i in range(1, 41):
            line = {"iteration": i, "rollout/env_steps": 100 * i}
            line |= dict.fromkeys(("rollout/return_pre", "rollout/return_post"), float(i))
            file.write(json.dumps(line) + "\n")
    plain, named = (
        learning_curve(tmp_path, tmp_path / f"{len(names)}.png", names).read_bytes()
        for names in ([], phases)
    )
    assert plain != named


def test_learning_curve_of_an_empty_run_is_an_error(tmp_path):
    with pytest.raises(RunError, match="no finished iteration"):
        learning_curve(tmp_path, tmp_path / "curve.png")


def test_smoothing_is_a_trailing_mean_that_leaves_gaps_out():
    values = np.arange(40.0)  # window: 5 % of 40 = 2
    expected = np.concatenate([[0.0], values[1:] - 0.5])
    np.testing.assert_allclose(smooth(values), expected)
    values[10] = np.nan
    smoothed = smooth(values)
    assert smoothed[10] == 9.0 and smoothed[11] == 11.0
    np.testing.assert_array_equal(smooth(np.array([np.nan, 3.0])), [np.nan, 3.0])
