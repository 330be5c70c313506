"""The gate of the robot families: which runs are made, and what decides whether a family passes."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("stable_baselines3")

from support.runs import teacher_student_run

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
from metarl.runs.policy_folder import read_policy


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
    student, robust = (
        TrainConfig.parsed(study.methods["teacher-student"]) for study in (gate.study, gate.robust)
    )
def test_every_family_is_filmed():
    assert set(FILMS) == set(STUDIES)


def test_the_gate_weighs_the_gap_against_what_the_robust_policy_gains_over_noise():
    found = comparison(robust=-10.0, gap=[5.0, 3.0, 7.0])
    assert gain(found, "test") == pytest.approx(5 / 20)
    assert gate_row(found) == "| `puck-slide` | -30 | -10 | -5 | 5 [3, 7] | 25% | yes |"


@pytest.mark.parametrize(("robust", "gap"), [(-8.0, [3.0, 1.0, 5.0]), (-10.0, [5.0, -1.0, 11.0])])
def test_a_small_or_uncertain_gap_fails(robust, gap):
    assert gate_row(comparison(robust, gap)).endswith("| **no** |")  # 3 of 22, and chance


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
