"""The choice of training tasks: representatives that cover a family, and draws by need."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from support.tiny_runs import TINY, assert_same_state
from torch import Generator

from metarl.distributed import Share
from metarl.methods.config import from_json, to_json, with_settings
from metarl.methods.families import recipe
from metarl.outer.task_choice import (
    FAST,
    MET,
    SLOW,
    TaskSource,
    drawn_representatives,
    no_returns,
    representatives_of,
    with_returns,
)
from metarl.runs.checkpoint import create_run, load_checkpoint
from metarl.training.trainer import initial_state, train
from metarl_envs import InputError, get_family

NAVIGATION = get_family("navigation")
BY_NEED = ("worst", "progress")


def seeded(seed=0):
    return Generator().manual_seed(seed)


def state_with(fast, slow=None, met=1.0):
    fast = torch.tensor(fast)
    slow = fast if slow is None else torch.tensor(slow)
    return {FAST: fast, SLOW: slow, MET: torch.full_like(fast, met)}


def shares(choice, state, size, draws=4000):
    found = drawn_representatives(choice, state, size, draws, seeded())
    return torch.bincount(found, minlength=size) / draws


def test_representatives_lie_nearer_to_every_task_than_as_many_draws():
    few = representatives_of(NAVIGATION, 12, seeded())
    draws = [NAVIGATION.sample_tasks(12, seeded(n), "train") for n in range(20)]
    others = NAVIGATION.task_features(NAVIGATION.sample_tasks(2000, seeded(7), "train"))

    def farthest(tasks):
        return float(torch.cdist(others, NAVIGATION.task_features(tasks)).min(1).values.max())

    assert len(few) == 12 and farthest(few) < 0.8 * sum(map(farthest, draws)) / 20
    assert representatives_of(NAVIGATION, 12, seeded()) == few
    NAVIGATION.check_tasks(few)


def test_a_family_with_two_tasks_is_covered_by_both():
    few = representatives_of(get_family("half-cheetah-direction"), 2, seeded())
    assert sorted(few.values["direction"].tolist()) == [-1, 1]


def test_in_turn_every_representative_comes_before_any_comes_twice():
    found = drawn_representatives("representative", {}, 5, 12, seeded())
    assert sorted(found[:5].tolist()) == sorted(found[5:10].tolist()) == list(range(5))


@pytest.mark.parametrize("choice", BY_NEED)
def test_tasks_that_were_never_met_come_first(choice):
    state = no_returns(choice, 6)
    state = with_returns(state, torch.tensor([0, 3]), torch.tensor([1.0, 2.0]))
    assert set(drawn_representatives(choice, state, 6, 4, seeded()).tolist()) == {1, 2, 4, 5}


def test_the_worst_are_drawn_most_and_all_now_and_then():
    found = shares("worst", state_with([3.0, -1.0, 2.0, 9.0, 5.0, 7.0]), 6)
    assert found.argmax() == 1 and found.argmin() == 3
    needs = torch.tensor([0.5**n for n in (2, 0, 1, 5, 3, 4)])
    expected = 0.25 / 6 + 0.75 * needs / needs.sum()
    assert torch.allclose(found, expected, atol=0.03)


def test_tasks_whose_return_changes_are_drawn_by_how_much():
    found = shares("progress", state_with([1.0, 5.0, -4.0, 2.0], [1.0, 4.0, -1.0, 2.0]), 4)
    expected = 0.25 / 4 + 0.75 * torch.tensor([0.0, 0.25, 0.75, 0.0])
    assert torch.allclose(found, expected, atol=0.03)


def test_returns_move_a_fast_and_a_slow_mean_of_the_tasks_that_were_met():
    state = no_returns("worst", 3)
    state = with_returns(state, torch.tensor([0, 2, 0]), torch.tensor([1.0, 8.0, 3.0]))
    assert state[FAST].tolist() == state[SLOW].tolist() == [2, 0, 8]
    assert state[MET].tolist() == [2, 0, 1]
    state = with_returns(state, torch.tensor([0]), torch.tensor([4.0]))
    assert state[FAST].tolist() == [3, 0, 8] and state[SLOW].tolist() == pytest.approx([2.2, 0, 8])


def test_a_diverged_simulation_counts_as_the_lowest_return():
    state = state_with([1.0, -3.0, 2.0])
    state = with_returns(state, torch.tensor([0, 2]), torch.tensor([float("nan"), 5.0]))
    assert state[FAST].tolist() == [-1, -3, 3.5]
    assert with_returns(no_returns("worst", 2), torch.tensor([0]), torch.tensor([float("nan")]))[
        MET
    ].tolist() == [0, 0]


def test_slots_of_other_processes_and_of_the_same_task_are_counted_where_they_belong():
    """A search over parameters: six slots run three tasks, twice each."""

    class Rollouts:
        @staticmethod
        def task_returns():
            return torch.tensor([1.0, 2.0, 3.0, 5.0, 6.0, 7.0])

    source = TaskSource(NAVIGATION, "worst", 4, seed=0)
    chosen = torch.tensor([3, 0, 1])
    state = source.learned(no_returns("worst", 4), chosen, Rollouts, Share(6))
    assert state[FAST].tolist() == [4, 5, 0, 3]


@pytest.mark.parametrize("choice", ["representative", *BY_NEED])
def test_a_run_resumes_to_the_same_bits(choice, tmp_path):
    sizes = {"task_choice": choice, "representatives": 3, "iterations": 4, "checkpoint_every": 2}
    config = with_settings(TINY, sizes)
    for name in ("whole", "again"):
        create_run(tmp_path / name, config, ["metarl", "train"])
    whole = train(config, initial_state(config), tmp_path / "whole", quiet=True)
    _, halfway = load_checkpoint(tmp_path / "whole", 2)
    assert_same_state(train(config, halfway, tmp_path / "again", quiet=True), whole)
    assert (whole.choice != {}) is (choice in BY_NEED)
    if choice in BY_NEED:
        assert float(whole.choice[MET].sum()) == 4 * config.meta_batch_size


def test_uniform_draws_are_those_of_the_family():
    drawn, chosen = TaskSource(NAVIGATION, "uniform", 4, seed=0).draw({}, 5, seeded(3))
    assert drawn == NAVIGATION.sample_tasks(5, seeded(3), "train") and len(chosen) == 0


def test_trials_that_go_on_with_other_tasks_are_refused():
    config = recipe("navigation", "teacher-student")
    with pytest.raises(InputError, match=r"task_choice = 'worst': .*outer\.goes_on above 0"):
        with_settings(config, {"task_choice": "worst"})
    allowed = with_settings(config, {"task_choice": "worst", "outer.goes_on": 0.0})
    assert from_json(to_json(allowed)) == allowed
    with pytest.raises(InputError, match=r"outer\.changes above 0"):
        dataclasses.replace(allowed, outer=dataclasses.replace(allowed.outer, changes=0.3))
