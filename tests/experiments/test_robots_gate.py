"""The gate of the robot families: which runs are made, and what decides whether a family passes."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shlex

import pytest
from torch import Generator

pytest.importorskip("stable_baselines3")

from experiments import robots
from experiments.robots import (
    FILMS,
    METHODS,
    STUDIES,
    Gate,
    Options,
    film,
    gain,
    gate_row,
    page,
    told,
)
from experiments.studies import commands, known
from metarl.cli.adapt import Record
from metarl.cli.parser import parse
from metarl.cli.tasks import parse_switches, parse_task
from metarl.methods.baselines import baseline_recipe
from metarl.methods.setup import policy_of
from metarl.outer.teacher_student import TeacherStudent
from metarl.runs.policy_folder import SavedPolicy, read_policy
from metarl_envs import load_family


def curve(*returns):
    return [
        {"adaptation_episodes": n, "mean": {"crossed": [value, value - 1, value + 1]}}
        for n, value in zip((0, 1, 2, 5), returns, strict=False)
    ]


def comparison(robust, gap):
    curves = dict.fromkeys(METHODS, curve(-4.0, -2.0, -1.0, -1.0))
    curves |= {"random": curve(-30.0), "robust": curve(robust), "oracle": curve(-5.0)}
    closed = [
        {
            "adaptation_episodes": n,
            "share": [0.5, 0.25, 0.75],
            "share_of_another_task": [0.1, 0.0, 0.2],
        }
        for n in (0, 1, 2, 5)
    ]
    splits = ("test", "extrapolation")
    return {
        "family": "puck-slide",
        "env_steps": dict.fromkeys(METHODS, 2e6),
        "splits": {split: {"curves": curves} for split in splits},
        "gap": {split: {"gap": gap, "closed": {"teacher-student": closed}} for split in splits},
    }


def test_whatever_learns_has_a_run_per_seed_and_noise_has_one(tmp_path):
    options = Options(seeds=(4, 7), runs=tmp_path)
    made = commands(options, "puck-slide", STUDIES["puck-slide"].study)
    learned = ("teacher-student", "meta-sgd", "frame-stack")
    names = [f"puck-slide-{m}-{s}" for m in learned for s in (4, 7)]
    assert [path.name for path in made] == [*names, "puck-slide-random-4"]
    begins = made[tmp_path / "puck-slide-meta-sgd-4"][:4]
    assert begins == ["train", "puck-slide", "--method", "meta-sgd"]


def test_student_and_robust_policy_have_teachers_of_the_same_size():
    gate = Gate(
        family="puck-slide", worlds=8, teacher=7, imitation=3, reinforcement=4, frame_stack=""
    )
    student, robust = gate.study, gate.robust
    assert student.methods["teacher-student"].split() == [
        *("--meta-batch-size", "8", "--iterations", "14", "--outer.teacher-share", "0.5"),
        *("--outer.reinforcement-share", "0.285714", "--evaluate-every", "0"),
    ]
    assert robust.family == "experiments/told_nothing.py:puck_slide"
    assert robust.methods["teacher-student"].split() == [
        *("--meta-batch-size", "8", "--iterations", "8", "--outer.teacher-share", "0.875"),
        *("--evaluate-every", "0"),
    ]


@pytest.mark.parametrize("name", STUDIES)
def test_every_robust_policy_is_of_the_gates_family_and_its_teachers_iterations(name):
    gate = STUDIES[name]
    assert load_family(gate.robust.family).name == f"{name}-told-nothing"
    for study, imitation in ((gate.study, gate.imitation), (gate.robust, 1)):
        words = study.methods["teacher-student"].split()
        given = dict(itertools.pairwise(words))  # each flag, and what follows it
        outer = TeacherStudent(teacher_share=float(given["--outer.teacher-share"]))
        share = float(given.get("--outer.reinforcement-share", 0))
        outer = dataclasses.replace(outer, reinforcement_share=share)
        phases = outer.phases(int(given["--iterations"]), 1)
        found = {phase.name: phase.iterations for phase in phases}
        assert (found["teacher"], found["imitation"]) == (gate.teacher, imitation)


def test_oracles_and_robust_policies_are_the_teachers_of_runs(tmp_path, monkeypatch):
    asked = []

    def teacher(run):
        asked.append(run.name)
        method = "robust" if "told-nothing" in run.name else "oracle"
        config = baseline_recipe("puck-slide", method)
        config = dataclasses.replace(config, family="puck-slide", seed=int(run.name[-1]))
        policy = policy_of(config)
        return SavedPolicy(policy, policy.init(Generator().manual_seed(0)), config, {})

    monkeypatch.setattr(robots, "teacher_of", teacher)
    options = Options(seeds=(0, 3), runs=tmp_path)
    folders = told(options, "puck-slide")
    labels = ("teacher-student-0", "told-nothing-0", "teacher-student-3", "told-nothing-3")
    assert asked == [f"puck-slide-{label}" for label in labels]
    configs = [read_policy(folder).config for folder in folders]
    assert [(c.family, c.method, c.seed) for c in configs] == [
        ("puck-slide", "oracle", 0),
        ("puck-slide", "robust", 0),
        ("puck-slide", "oracle", 3),
        ("puck-slide", "robust", 3),
    ]
    assert told(options, "puck-slide") == folders and len(asked) == 4  # kept


def test_every_family_is_filmed():
    assert set(FILMS) == set(STUDIES)


@pytest.mark.parametrize(
    ("name", "asked"), [(name, asked) for name in FILMS for asked in FILMS[name].values()]
)
def test_films_show_tasks_of_their_families(name, asked):
    command = parse(["record", "run", *shlex.split(asked)])
    assert isinstance(command, Record)
    family = load_family(STUDIES[name].family)
    switches = parse_switches(family, command.switch)
    assert all(time_s < family.horizon * family.dt_s for time_s in switches)
    for changed in ({}, *switches.values()):
        values = parse_task(family, *command.task).describe(0) | changed
        family.make_task(values)


def test_the_gate_weighs_the_gap_against_what_the_robust_policy_gains_over_noise():
    found = comparison(robust=-10.0, gap=[5.0, 3.0, 7.0])
    assert gain(found, "test") == pytest.approx(5 / 20)
    assert gate_row(found) == "| `puck-slide` | -30 | -10 | -5 | 5 [3, 7] | 25% | yes |"


@pytest.mark.parametrize(("robust", "gap"), [(-8.0, [3.0, 1.0, 5.0]), (-10.0, [5.0, -1.0, 11.0])])
def test_a_small_or_uncertain_gap_fails(robust, gap):
    assert gate_row(comparison(robust, gap)).endswith("| **no** |")  # 3 of 22, and chance


def test_where_the_robust_policy_gains_nothing_any_certain_gap_passes():
    row = gate_row(comparison(robust=-31.0, gap=[26.0, 24.0, 28.0]))
    assert row == "| `puck-slide` | -30 | -31 | -5 | 26 [24, 28] | it gains nothing | yes |"
    assert gate_row(comparison(robust=-31.0, gap=[26.0, -1.0, 53.0])).endswith("| **no** |")


def test_the_page_is_read_from_the_comparisons(tmp_path):
    found = comparison(robust=-10.0, gap=[5.0, 3.0, 7.0])
    (tmp_path / "robots-puck-slide.json").write_text(json.dumps(found))
    text = page(tmp_path)
    assert (
        "| `puck-slide`, held out | teacher-student | 2 M | -4, -2, -1, -1 "
        "| 50% [25%, 75%] | 50% [25%, 75%] | 50% [25%, 75%] | 50% [25%, 75%] | 10% [0%, 20%] |"
    ) in text
    assert "| `puck-slide`, extrapolation | robust | 2 M | -10 | - | - | - | - | - |" in text


def test_a_film_that_is_there_is_not_made_again(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        robots, "metarl_once", lambda command, *, done, log: asked.append((command, done)) or True
    )
    options, folder = Options(runs=tmp_path), tmp_path / "films" / "quadrotor-wind"
    (folder / "two-flights").mkdir(parents=True)
    (folder / "two-flights" / "a.mp4").touch()
    assert film(options, "quadrotor-wind")
    assert [done for _, done in asked] == [True, False]
    run = tmp_path / "quadrotor-wind-teacher-student-0"
    begins = ["record", str(run), "--hd", "--out", str(folder / "a-gust"), "--show", "1"]
    assert asked[1][0][:7] == begins


def test_unknown_names_are_refused():
    with pytest.raises(SystemExit, match="boat: not one of puck-slide"):
        known(["puck-slide", "boat"], STUDIES)
