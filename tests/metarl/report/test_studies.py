"""Seeds become methods: which runs belong together, what is stated of them, how it is drawn."""

from __future__ import annotations

import csv
import math
import re

import numpy as np
import pytest
from support.report_runs import make_baselines, make_runs, studied

from metarl.evaluation.budgets import steps_text
from metarl.evaluation.curve_table import NO_SHARE
from metarl.evaluation.gap import Gap, percent
from metarl.evaluation.labels import ANY_TASK
from metarl.evaluation.statistics import Interval, numbers_text
from metarl.report.csv_files import write_tables
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
from metarl.report.studies import Study
from metarl.report.style import method_styles
from metarl.report.tables import gain_table, points_table, reference_of, return_table
from metarl.report.task_figures import binned


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return studied([*make_runs(folder), *make_baselines(folder)])


def rows_of(table):
    """A table's rows by the name of their method, each as a dict by column."""
    return {row[0]: dict(zip(table.head, row, strict=True)) for row in table.rows}


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


def test_page_and_csv_state_the_same(study, tmp_path):
    files = write_tables(study, tmp_path)
    methods, _, tasks, learned = (list(csv.DictReader(path.open(newline=""))) for path in files)
    assert len(methods) == 3 * (2 * 3 + 3)  # splits; methods that adapt at three points, and others
    for line, row in zip(methods, study.rows, strict=True):
        assert (line["method"], line["split"]) == (row.method.label, row.split)
        assert float(line["iqm_low"]) == row.iqm.low
        assert (line["closed"] == "") == (row.closed is None)
        assert (line["gain"] == "") == (not row.method.adapts)
        adapted = row.gradient_steps > 0 and row.method.adapts
        assert (line["gain_over_other"] != "") == adapted
    assert len(tasks) == 6 * 3 * 5 * 3
    assert [row["iteration"] for row in learned if row["run"] == "a<b>"] == ["1", "2"]
    assert {row["method"] for row in learned} >= {"MAML-TRPO", "Robust PPO"}

    maml = study.groups[0]
    first, middle, last = study.curve(maml, "test")
    returned = rows_of(return_table(study, "test"))
    steps = steps_text(study.comparison.env_steps(maml.runs))
    assert returned["MAML-TRPO"] | {"beats Robust PPO": ""} == {
        "method": "MAML-TRPO",
        "seeds": "2",
        "env steps": steps,
        "before": first.mean.text(),
        "after": last.mean.text(),
        "each seed": numbers_text(study.comparison.by_run(maml.runs, "test", 2)),
        "IQM": last.iqm.text(),
        "worst fifth": last.worst_fifth.text(),
        "beats Robust PPO": "",
    }
    assert returned["Robust PPO"]["before"] == "does not adapt"
    gained = rows_of(gain_table(study, "test"))["MAML-TRPO"]
    assert gained["gain"] == last.gain.text("+")
    assert gained["return with another task's"] == last.other.text()
    assert gained["gain over another task's"] == last.gain_over_other.text("+")
    points = points_table(study)
    assert len(points.rows) == 2 * 3 * 3  # methods that adapt, splits, points
    assert points.rows[1][:5] == ["MAML-TRPO", steps, "test", "1", middle.mean.text()]
    assert reference_of(study) is study.groups[3]


def test_shares_stand_beside_steps_and_what_another_task_closes(study, monkeypatch):
    monkeypatch.setattr(Gap, "size", lambda self, split: Interval(1.0, 0.5, 1.5))
    found = Study(study.groups, study.comparison)
    maml = found.groups[0]
    last = found.curve(maml, "test")[-1]
    assert last.closed is not None and last.closed_by_other is not None
    (picture,) = shares(found).pictures
    (axes,) = picture.figure.axes
    steps = steps_text(found.comparison.env_steps(maml.runs))
    assert axes.get_yticklabels()[0].get_text() == f"MAML-TRPO\n{steps} steps"
    for text in (picture.alt, headline(found, maml)):
        assert percent(last.closed) in text and percent(last.closed_by_other) in text
    row = rows_of(gain_table(found, "test"))["MAML-TRPO"]
    assert (row["env steps"], row["gap closed"]) == (steps, percent(last.closed))
    assert row["by another task's"] == percent(last.closed_by_other)
    assert points_table(found).rows[2][-1] == percent(last.closed)
    assert found.rows[0].closed_by_other is None  # before adaptation


def test_words_name_methods_costs_gains_and_limits(study):
    maml = study.groups[0]
    last = study.curve(maml, "test")[-1]
    over = last.gain_over_other
    assert title(study) == "navigation: 5 methods, of which 2 adapt"
    for part in (
        last.gain.text("+"),
        f"{over.text('+')} over another task's adaptation",
        last.verdict,
        cost(maml),
    ):
        assert part in headline(study, maml)
    assert re.fullmatch(r"Trained with 2 seeds, .* steps and \d+ seconds each", cost(maml))
    assert "5 held-out tasks" in introduction(study) and "1 gradient step on 3" in introduction(
        study
    )
    said = " ".join(notes(study))
    for part in (ANY_TASK, study.comparison.intervals, study.comparison.budgets[1:]):
        assert part in said
    assert "Random untrained, with action noise" in said
    assert "One seed of ProMP, Robust PPO and Oracle PPO" in said
    robust = study.curve(study.groups[3], "test")[0]
    assert f"Robust PPO {robust.mean.text()}" in baselines(study)
    sizes = [study.gap.size(split) for split in study.splits]
    assert all(size.text("+") in gap(study) for size in sizes)
    assert (NO_SHARE in gap(study)) == (min(size.low for size in sizes) <= 0)


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
