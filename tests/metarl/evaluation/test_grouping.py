"""Grouping of runs into methods."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from support.tiny import tiny_policy
from support.tiny_runs import run_with

from metarl.evaluation.evaluate import evaluate
from metarl.evaluation.grouping import check_alike, compare, labels
from metarl.runs.checkpoint import SavedPolicy, load_policy, save_policy
from metarl.runs.places import output
from metarl_envs import InputError

FOLDERS = [Path("runs/a"), Path("runs/b"), Path("runs/c")]


def policy(**changes):
    saved = tiny_policy("navigation")
    return dataclasses.replace(saved, config=dataclasses.replace(saved.config, **changes))


def test_seed_and_machine_do_not_make_a_method():
    policies = [policy(seed=0), policy(seed=1, sim_threads=2, checkpoint_every=7), policy(seed=0)]
    assert labels(policies, FOLDERS) == ["maml-trpo"] * 3


def test_settings_do_and_the_first_folder_of_each_names_it():
    policies = [policy(), policy(discount=0.5), policy(seed=1, discount=0.5)]
    assert labels(policies, FOLDERS) == ["maml-trpo (a)", "maml-trpo (b)", "maml-trpo (b)"]


def test_a_policy_chosen_on_validation_tasks_is_another_method_than_a_final_one(tmp_path):
    run = run_with(tmp_path / "run", 2)
    saved = load_policy(run)
    best = save_policy(
        run / "best",
        SavedPolicy(saved.policy, saved.params, saved.config, {"chosen": "best, iteration 1"}),
    )
    policies = [load_policy(run), load_policy(best)]
    assert labels(policies, [run, best]) == ["maml-trpo (run)", "maml-trpo (run-best)"]
    # Training writes it anew, so nothing is put into it.
    assert output(best, "evaluation") == run / "evaluation-best"
    assert output(run, "evaluation") == run / "evaluation"


def test_methods_keep_the_order_of_their_first_runs():
    policies = [policy(method="promp"), policy(), policy(method="promp", seed=1)]
    runs = [evaluate(p, num_tasks=2, episodes_per_step=2, splits=["test"]) for p in policies]
    found = compare(policies, FOLDERS, runs).methods
    assert [(m.label, m.method, len(m.runs)) for m in found] == [
        ("promp", "promp", 2),
        ("maml-trpo", "maml-trpo", 1),
    ]
    assert found[0].runs[1] is runs[2]


def test_other_families_and_horizons_are_refused_by_name():
    check_alike([policy(), policy(seed=1)])
    with pytest.raises(
        InputError, match=r"differ: navigation \(9 steps\), navigation \(12 steps\)"
    ):
        check_alike([policy(), policy(horizon=9)])
