"""Adam's steps within a bound: taken back, shortened, grown again, annealed."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from support.meta_problem import double, meta_problem

from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.learned_rates import MetaSgd
from metarl.outer import clipped_steps
from metarl.outer.adam import Adam
from metarl.outer.clipped_steps import differentiate, measure
from metarl.outer.minibatches import minibatches
from metarl.outer.promp import ProMp
from metarl.policies.params import learned


def divergence_of(outer, given, theta):
    (data,) = minibatches(given.iteration(), 1)
    return float(measure(outer.loss, theta, given.iteration(), data)[1])


def test_a_step_beyond_max_kl_is_taken_back_and_the_next_ones_are_half_as_long():
    given = meta_problem(GradientStep(0.3), "ratio", 1)
    free = ProMp(epochs=12, minibatches=1, learning_rate=0.02, max_kl=1e9)
    start = free.init(learned(given.theta))
    far, _, _ = free.update(given.theta, start, given.iteration())
    limit = divergence_of(free, given, far) / 4
    bounded = dataclasses.replace(free, max_kl=limit)
    new, state, metrics = bounded.update(given.theta, start, given.iteration())
    assert 0 < float(state["adam.count"]) < 12
    assert metrics["train/approx_kl"] == pytest.approx(divergence_of(free, given, new), rel=1e-9)
    assert 0 < divergence_of(free, given, new) <= limit
    assert float(state["step_scale"]) in {2.0**-n for n in range(1, 12)}
    assert metrics["train/step_scale"] == float(state["step_scale"])


def test_a_first_step_that_leads_too_far_is_halved_until_it_does_not():
    given = meta_problem(GradientStep(0.3), "ratio", 1)
    limit, outer = 1e-3, ProMp(epochs=16, minibatches=1, learning_rate=0.2, max_kl=1e-3)
    start = outer.init(learned(given.theta))
    new, state, _ = outer.update(given.theta, start, given.iteration())
    assert 0 < divergence_of(outer, given, new) <= limit
    assert float(state["step_scale"]) < 0.1
    assert float(start["step_scale"]) == 1
    # The moments are those of the steps that were kept.
    assert 0 < float(state["adam.count"]) < 16


def test_a_point_within_max_kl_on_one_minibatch_and_beyond_on_the_next_is_left_too(monkeypatch):
    given = meta_problem(GradientStep(0.3), "ratio", 1)
    outer = ProMp(epochs=3, minibatches=1, learning_rate=1e-3, max_kl=0.5)
    start = outer.init(learned(given.theta))
    kls = iter(double(0.0, 0.1, 0.9, 0.9))  # two steps; then the second and the first are too far

    def scripted(loss, params, iteration, data):
        _, gradient = differentiate(loss, params, iteration, data)
        return next(kls), gradient

    monkeypatch.setattr(clipped_steps, "differentiate", scripted)
    outer = dataclasses.replace(outer, epochs=4)
    new, state, metrics = outer.update(given.theta, start, given.iteration())
    assert all(torch.equal(value, given.theta[name]) for name, value in new.items())
    assert metrics["train/steps_taken_back"] == 2
    assert float(state["step_scale"]) == 0.25


def test_the_last_step_is_held_to_max_kl_too():
    given = meta_problem(GradientStep(0.3), "ratio", 1)
    outer = ProMp(epochs=1, minibatches=1, learning_rate=1.0, max_kl=1e-3)
    start = outer.init(learned(given.theta))
    new, state, _ = outer.update(given.theta, start, given.iteration())
    assert all(torch.equal(value, given.theta[name]) for name, value in new.items())
    assert float(state["adam.count"]) == 0
    assert float(state["step_scale"]) == 0.5


def test_steps_grow_again_after_iterations_in_which_none_led_too_far():
    given = meta_problem(GradientStep(0.3), "ratio", 1)
    outer = ProMp(epochs=1, minibatches=1, learning_rate=1e-3)
    state = outer.init(learned(given.theta)) | {"step_scale": torch.tensor(0.5)}
    scales = []
    for _ in range(5):
        _, state, _ = outer.update(given.theta, state, given.iteration())
        scales.append(float(state["step_scale"]))
    assert scales == pytest.approx([0.625, 0.78125, 0.9765625, 1, 1])


def test_the_scale_multiplies_the_length_of_a_step():
    given = meta_problem(MetaSgd(0.3), "ratio", 1)
    outer, theta = Adam(learning_rate=0.01, adaptation_lr=0.05), learned(given.theta)

    def moved(scale):
        optimizer = outer.init(theta) | {"step_scale": torch.tensor(scale)}
        new = outer.update(given.theta, optimizer, given.iteration()).params
        return {name: new[name] - value for name, value in theta.items()}

    whole = moved(1.0)
    for name, value in moved(0.5).items():
        torch.testing.assert_close(value, 0.5 * whole[name])


def test_steps_on_the_same_data_lower_the_loss_and_move_the_policy():
    given = meta_problem(GradientStep(0.3), "ratio", 1)
    outer = ProMp(epochs=8, minibatches=1, learning_rate=3e-3)
    before = {name: value.clone() for name, value in given.theta.items()}
    optimizer = outer.init(learned(given.theta))
    new, after, metrics = outer.update(given.theta, optimizer, given.iteration())
    assert float(after["adam.count"]) == 8
    assert float(optimizer["adam.count"]) == 0
    assert metrics["train/improvement"] > 0
    assert metrics["train/approx_kl"] > 1e-5
    assert all(torch.equal(given.theta[name], value) for name, value in before.items())
    (data,) = minibatches(given.iteration(), 1)
    first, last = (
        measure(outer.loss, theta, given.iteration(), data)[0] for theta in (given.theta, new)
    )
    assert metrics["train/policy_loss"] == pytest.approx(float(first), rel=1e-9)
    assert metrics["train/improvement"] == pytest.approx(float(first) - float(last), rel=1e-9)
    assert all(math.isfinite(value) for value in metrics.values())
    assert not any(value.requires_grad for value in (new | after).values())


def test_steps_follow_half_a_cosine_to_their_final_share():
    outer = ProMp(final_rate=0.2)
    found = [outer.pace(progress) for progress in (0.0, 0.25, 0.5, 1.0)]
    assert found == pytest.approx([1.0, 0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2, 0.6, 0.2])
    assert ProMp().pace(0.9) == 1.0


def test_both_step_sizes_shrink_in_the_course_of_training():
    given = meta_problem(MetaSgd(0.3), "ratio", 1)
    outer = ProMp(minibatches=1, epochs=1, final_rate=0.0)

    def step(progress):
        optimizer = outer.init(learned(given.theta))
        moved = outer.update(given.theta, optimizer, given.iteration(progress=progress)).params
        return {name: moved[name] - value for name, value in learned(given.theta).items()}

    early, late = step(0.0), step(2 / 3)  # cos(2 pi / 3) = -1/2: a quarter is left
    for name, value in early.items():
        torch.testing.assert_close(late[name], 0.25 * value, rtol=1e-9, atol=1e-12)
        assert float(value.abs().max()) > 0
