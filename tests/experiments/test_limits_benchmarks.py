"""The benchmarks of limits: stopped hoppers, and caps on a step's size."""

import json
from pathlib import Path

import numpy as np
import pytest
from support.tiny import tiny_policy

from experiments import step_sizes, stopped_episodes
from metarl.deploy import MetaPolicy

RESULTS = Path(__file__).resolve().parents[2] / "experiments" / "results"


def test_hoppers_are_adapted_and_measured_in_the_region(tmp_path):
    MetaPolicy(tiny_policy("hopper-dynamics", horizon=60)).save(tmp_path / "hopper-dynamics-0")
    options = stopped_episodes.Options(runs=tmp_path, tasks=2, episodes=2, steps=1, measured=2)
    rows = stopped_episodes.adapt_and_measure(options, 0)
    assert len(rows) == 2
    for row in rows:
        (free,), (limited,) = (row[n]["collections"] for n in ("without_limits", "with_limits"))
        # The same episodes, but that the region ends before the environment does.
        assert limited["steps"] < free["steps"] or free["steps"] == limited["steps"] == 60
        assert free["stopped"] == 0
    mean = stopped_episodes.summary(rows)
    assert mean["before"]["steps"] == np.mean([row["before"]["steps"] for row in rows])


def test_the_region_is_within_the_one_that_the_environment_ends_at():
    upright = np.array([1.25, 0.0])
    assert not stopped_episodes.leaves_the_region(upright)
    for observation in ([0.79, 0.0], [1.25, 0.16], [1.25, -0.16]):
        assert stopped_episodes.leaves_the_region(np.array(observation))


def test_adapting_under_the_limit_does_not_teach_to_be_stopped_sooner():
    """Of the results that are kept: every seed survives longer than before."""
    numbers = json.loads((RESULTS / "stopped-episodes.json").read_text())
    assert [len(seed["tasks"]) for seed in numbers["seeds"]] == [4] * 4
    for seed in numbers["seeds"]:
        assert seed["mean"]["with_limits"]["steps"] > seed["mean"]["before"]["steps"]
        for row in seed["tasks"]:
            assert len(row["with_limits"]["collections"]) == numbers["options"]["steps"]


def test_gain_is_shown_against_caps(tmp_path, capsys):
    folder = MetaPolicy(tiny_policy("navigation", horizon=5)).save(tmp_path / "tiny")
    step_sizes.main(step_sizes.Options(folder, tasks=3, episodes=(2,)))
    shown = capsys.readouterr().out
    rows = [line.split() for line in shown.splitlines() if line.startswith("  cap")]
    shares = [float(row[2].strip("():")) for row in rows]
    caps = [float(row[1]) for row in rows]
    assert shares == list(step_sizes.SHARES)
    np.testing.assert_allclose(caps[:-1], np.array(shares[:-1]) * caps[-2], rtol=0.01)
    assert caps[-1] == pytest.approx(float("inf"))
