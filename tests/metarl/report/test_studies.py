"""Seeds become methods: which runs belong together, what is stated of them, how it is drawn."""

from __future__ import annotations

import csv
import html
import io
import math
import re

import numpy as np
import pytest
from support.report_runs import make_baselines, make_runs, studied

from metarl.evaluation.budgets import steps_text
from metarl.evaluation.comparison import seeds_text
from metarl.evaluation.gap import Gap, percent
from metarl.evaluation.labels import ANY_TASK
from metarl.evaluation.statistics import Interval
from metarl.report import Study
from metarl.report.csv_files import learning_csv, method_csv, task_csv
from metarl.report.figures import common, shares
from metarl.report.sentences import (
    baselines,
    cost,
    duration,
    gap,
    headline,
    introduction,
    listed,
    notes,
    span,
    title,
)
from metarl.report.style import method_styles
from metarl.report.tables import gain_table, points_table, reference_of, return_table
from metarl.report.task_figures import binned


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return studied([*make_runs(folder), *make_baselines(folder)])


def plain(table: str) -> str:
    """What is read in a table."""
    return html.unescape(re.sub(r"<[^>]+>", "", table))


def returns(group, split="test"):
    """Of every run at every point: (R, P, M)."""
    found = [s.evaluation.splits for s in group.subjects]
    return np.array([next(r for r in splits if r.split == split).returns for splits in found])


def test_runs_that_differ_in_the_seed_alone_are_one_method(study):
    found = [(group.label, len(group.subjects), group.adapts) for group in study.groups]
    assert found == [
        ("MAML-TRPO", 2, True),
        ("ProMP", 1, True),
        ("Random", 1, False),
        ("Robust PPO", 1, False),
        ("Oracle PPO", 1, False),
    ]
    assert [s.saved.config.seed for s in study.groups[0].subjects] == [0, 1]


def test_rows_state_the_mean_over_seeds_and_tasks_at_every_point(study):
    maml, _, random = study.groups[:3]
    rows = study.curve(maml, "test")
    assert [(r.gradient_steps, r.adaptation_episodes) for r in rows] == [(0, 0), (1, 1), (1, 3)]
    assert [row.mean.estimate for row in rows] == pytest.approx(returns(maml).mean((0, 2)).tolist())
    assert all(row.mean.low <= row.mean.estimate <= row.mean.high for row in rows)
    (row,) = study.curve(random, "test")
    assert row.mean.estimate == pytest.approx(returns(random)[0, 0].mean())  # measured once
    assert row.gain is None  # not 0: it does not adapt


def test_gains_are_pooled_over_seeds(study):
    maml = study.groups[0]
    pooled = next(result for result in maml.pooled() if result.split == "test")
    expected = (returns(maml)[:, -1] - returns(maml)[:, 0]).mean(0)
    np.testing.assert_allclose(pooled.gains[-1], expected)


def test_the_representative_seed_is_the_median_one(study):
    maml = study.groups[0]
    finals = returns(maml)[:, -1].mean(1)
    assert maml.representative is maml.subjects[int(np.argmin(finals))]


def test_page_and_csv_state_the_same(study):
    rows = list(csv.DictReader(io.StringIO(method_csv(study))))
    assert len(rows) == 3 * (2 * 3 + 3)  # splits; methods that adapt at three points, and others
    for line, row in zip(rows, study.rows, strict=True):
        assert (line["method"], line["split"]) == (row.group.label, row.split)
        assert float(line["iqm_low"]) == row.iqm.low
        assert (line["closed"] == "") == (row.closed is None)
        assert (line["gain"] == "") == (not row.group.adapts)
        assert (line["gain_over_other"] == "") == (row.gradient_steps == 0 or not row.group.adapts)
    returned, gained = (plain(made(study, "test")) for made in (return_table, gain_table))
    maml = study.curve(study.groups[0], "test")
    assert maml[-1].mean.text() in returned and maml[-1].gain.text("+") in gained
    assert maml[-1].other.text() in gained and maml[-1].gain_over_other.text("+") in gained
    assert '<th scope="col">env steps</th>' in return_table(study, "test")
    assert "beats Robust PPO" in returned
    assert seeds_text(study.comparison.by_run(study.groups[0].runs, "test", 2)) in returned
    points = points_table(study)
    assert points.count("<tr>") == 1 + 2 * 3 * 3  # methods that adapt, splits, points
    assert maml[1].mean.text() in plain(points)
    assert reference_of(study) is study.groups[3]
    assert len(list(csv.DictReader(io.StringIO(task_csv(study))))) == 6 * 3 * 5 * 3
    learned = list(csv.DictReader(io.StringIO(learning_csv(study))))
    assert [row["iteration"] for row in learned if row["run"] == "a<b>"] == ["1", "2"]
    assert {row["method"] for row in learned} >= {"MAML-TRPO", "Robust PPO"}


def test_shares_stand_beside_steps_and_what_another_task_closes(study, monkeypatch):
    monkeypatch.setattr(Gap, "size", lambda self, split: Interval(1.0, 0.5, 1.5))
    found = Study(study.groups, study.comparison)
    maml = found.groups[0]
    last = found.curve(maml, "test")[-1]
    assert last.closed is not None and last.closed_by_other is not None
    beside = f"{percent(last.closed)}, with another task's adapted parameters "
    (picture,) = shares(found).pictures
    assert f"MAML-TRPO on test: {beside}{percent(last.closed_by_other)}" in picture.alt
    (axes,) = picture.figure.axes
    steps = steps_text(found.comparison.env_steps(maml.runs))
    assert axes.get_yticklabels()[0].get_text() == f"MAML-TRPO\n{steps} steps"
    assert f"(another task's adaptation: {percent(last.closed_by_other)})" in headline(found, maml)
    for table in (plain(gain_table(found, "test")), plain(points_table(found))):
        assert percent(last.closed) in table and steps in table
    assert percent(last.closed_by_other) in plain(gain_table(found, "test"))
    assert found.rows[0].closed_by_other is None  # before adaptation


def test_words_name_methods_costs_gains_and_limits(study):
    maml = study.groups[0]
    assert title(study) == "navigation: 2 methods that adapt, 3 that do not"
    last = study.curve(maml, "test")[-1]
    text = headline(study, maml)
    assert f"a gain of {last.gain.text('+')}" in text
    assert "Trained with 2 seeds, " in text
    said = (
        "Measured on 5 held-out tasks: mean return before adapting and after 1 gradient step on 3"
    )
    assert said in introduction(study)
    assert ("no gain is shown: its interval holds zero" in text) == (last.gain.low <= 0)
    over = last.gain_over_other
    assert over is not None and f"{over.text('+')} over another task's adaptation: " in text
    said = " ".join(notes(study))
    assert ANY_TASK in said
    assert "MAML-TRPO policy of iteration 2 of 10 and" in said or "MAML-TRPO" in said
    assert "Environment steps of training differ: MAML-TRPO " in said
    assert "Random untrained, with action noise" in said
    assert "Robust PPO" in baselines(study)
    assert gap(study).startswith(
        "Oracle PPO, which observes the task, returns more than Robust PPO"
    )
    assert gap(study).count("[") == 3
    assert any(study.comparison.intervals in note for note in notes(study))
    assert any("One seed of ProMP, Robust PPO and Oracle PPO" in note for note in notes(study))
    assert "seconds each" in cost(maml)


def test_numbers_in_words():
    assert (span([1_200_000]), span([900_000, 1_200_000])) == ("1.2 million", "0.9 to 1.2 million")
    assert [duration(h) for h in (0.005, 0.5, 2.345)] == ["18 seconds", "30 minutes", "2.3 hours"]
    assert [listed(["a", "b", "c"][:n]) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]


def test_every_method_has_a_line_of_its_own():
    kinds = [(f"method-{i}", True) for i in range(14)]
    kinds += [(name, False) for name in ("random", "scratch", "robust", "oracle", "robust")]
    styles = method_styles(kinds)
    assert len(set(styles)) == len(kinds)
    assert len({style.colour for style in styles[:6]}) == 6
    assert {style.line for style in styles[:6]} == {"-"}


def test_seeds_meet_on_common_steps():
    same = common([(np.arange(3.0), np.ones(3)), (np.arange(3.0), np.zeros(3))])
    assert same[0].tolist() == [0, 1, 2]
    assert same[1].tolist() == [[1, 1, 1], [0, 0, 0]]
    grid, values = common(
        [(np.array([0.0, 2.0]), np.array([0.0, 4.0])), (np.array([1.0, 3.0]),) * 2]
    )
    assert (grid[0], grid[-1]) == (1, 2)
    assert values[:, 0].tolist() == [2, 1]
    assert values[:, -1].tolist() == [4, 2]


def test_a_cloud_of_tasks_has_a_line_only_where_it_says_something():
    values = np.arange(15.0)[::-1]
    places, means = binned(values, 2 * values)
    assert places.tolist() == [2, 7, 12]
    assert means.tolist() == [4, 14, 24]
    assert binned(values[:14], values[:14]) is None  # too few
    assert binned(np.repeat([1.0, -1.0], 20), np.ones(40)) is None  # two values
    assert binned(values, np.full(15, math.nan)) is None
