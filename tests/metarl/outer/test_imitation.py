"""Imitation: its distance by hand, and the parameters that it reaches."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from support.trials import A, double, memory_policy, random, some_trial
from torch import Generator

from metarl.adaptation.adam import init_adam
from metarl.outer.imitation import ACTION, ADAM, LATENT, distance, imitate
from metarl.outer.recent_trials import replay_of, with_collection
from metarl.outer.trial_ppo import leaves, prefixed
from metarl.policies.params import expand, learned

Z = 2
POLICY = memory_policy(latent_size=Z)
PARAMS = double(POLICY.init(Generator().manual_seed(1)))
HEAD = {"weight_0", "bias_0", "weight_1", "bias_1"}
MEMORY = {n for n in learned(PARAMS) if n.startswith(("encoder.", "embed", "latent"))}


def collection(seed: int = 0):
    """A trial of the student, and what a teacher would have done there."""
    trial = some_trial(POLICY, PARAMS, seed)
    wanted = {
        ACTION: random(seed + 50, *trial.valid.shape, A),
        LATENT: random(seed + 60, *trial.valid.shape, Z),
    }
    return trial, wanted


def reached(targets):
    trial, wanted = collection()
    at = leaves(learned(PARAMS))
    loss = distance(POLICY, expand(PARAMS | at, 1), trial, wanted, targets)
    found = torch.autograd.grad(loss, list(at.values()), allow_unused=True)
    return {n for n, g in zip(at, found, strict=True) if g is not None and g.any()}


def test_the_parameters_that_each_target_reaches():
    """Latents leave the head alone; the noise is never learned from a mean."""
    assert MEMORY | HEAD | {"log_std"} == set(learned(PARAMS))
    assert reached("latents") == MEMORY
    assert reached("actions") == reached("both") == MEMORY | HEAD


@pytest.mark.parametrize("targets", ["actions", "latents", "both"])
def test_the_distance_is_the_mean_over_valid_steps(targets):
    trial, wanted = collection()
    dist, summaries = POLICY.scan(expand(PARAMS, 1), trial)
    expected, count = 0.0, 0
    for world, step in trial.valid[0].nonzero().tolist():
        count += 1
        if targets != "latents":
            error = dist.mean[0, world, step] - wanted[ACTION][0, world, step]
            expected += float(error.square().sum())
        if targets != "actions":
            latent = summaries[0, world, step] @ PARAMS["latent"] + PARAMS["latent_bias"]
            expected += float((latent - wanted[LATENT][0, world, step]).square().sum())
    found = distance(POLICY, expand(PARAMS, 1), trial, wanted, targets)
    assert float(found) == pytest.approx(expected / count)


def test_actions_count_in_half_ranges():
    """Outputs ten times as large mean the same actions, and the same distance."""
    trial, wanted = collection()
    config = dataclasses.replace(POLICY.config, action_scale=10.0)
    wide = dataclasses.replace(POLICY, config=config)
    params = wide.rescaled(PARAMS, 10.0)
    scaled = dataclasses.replace(trial, actions=10 * trial.actions)
    expected = distance(POLICY, expand(PARAMS, 1), trial, wanted, "actions")
    found = distance(
        wide, expand(params, 1), scaled, wanted | {ACTION: 10 * wanted[ACTION]}, "actions"
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("width", [0.3, 2.0])
def test_a_narrow_distance_saturates(width):
    """Welsch's loss of the whole action, and latents count as before."""
    trial, wanted = collection()
    dist, _ = POLICY.scan(expand(PARAMS, 1), trial)
    squared = (dist.mean - wanted[ACTION])[trial.valid].square().sum(dim=-1)
    expected = (2 * width**2 * (1 - (-squared / (2 * width**2)).exp())).mean()
    arguments = (POLICY, expand(PARAMS, 1), trial, wanted)
    torch.testing.assert_close(distance(*arguments, "actions", width), expected)
    mean, latents, both = (
        float(distance(*arguments, targets, width)) for targets in ("actions", "latents", "both")
    )
    assert latents == float(distance(*arguments, "latents")) and both == pytest.approx(
        mean + latents
    )


def test_a_wide_distance_is_the_squared_one():
    trial, wanted = collection()
    arguments = (POLICY, expand(PARAMS, 1), trial, wanted, "actions")
    torch.testing.assert_close(distance(*arguments, 1e3), distance(*arguments), rtol=1e-4, atol=0)


@pytest.mark.parametrize(("width", "expected"), [(math.inf, 0.16), (0.3, 0.8)])
def test_of_two_likely_actions_the_mean_is_neither_and_the_mode_is_one(width, expected):
    """Right in three fifths of equal histories, left in the others: a squared distance stays."""
    trial, wanted = collection()
    first = trial.some_worlds(torch.zeros(5, dtype=torch.long))
    signs = torch.tensor([1.0, 1.0, 1.0, -1.0, -1.0]).reshape(1, 5, 1, 1)
    target = {name: value[:, :1].expand(-1, 5, -1, -1) for name, value in wanted.items()}
    target[ACTION] = (0.8 * signs).expand_as(target[ACTION]).to(target[ACTION])
    state = replay_of(first, target, 1) | prefixed(ADAM, init_adam(learned(PARAMS)))
    state, moved = with_collection(state, first, target), PARAMS
    for step in range(300):
        moved, state, _ = imitate(
            POLICY,
            moved,
            state,
            targets="actions",
            width=max(width, 2.0 * 0.98**step),
            passes=1,
            minibatches=1,
            learning_rate=0.02,
            max_grad_norm=1.0,
            generator=Generator().manual_seed(step),
        )
    action = POLICY.scan(expand(moved, 1), first)[0].mean[first.valid]
    torch.testing.assert_close(action, torch.full_like(action, expected), rtol=0, atol=0.05)


def test_adam_follows_the_distance_and_draws_from_what_is_there():
    """One collection of three: one pass of one minibatch is a step on that collection."""
    trial, wanted = collection()
    state = replay_of(trial, wanted, 3) | prefixed(ADAM, init_adam(learned(PARAMS)))
    state = with_collection(state, trial, wanted)
    at = leaves(learned(PARAMS))
    loss = distance(POLICY, expand(PARAMS | at, 1), trial, wanted, "both")
    gradient = torch.autograd.grad(loss, list(at.values()), materialize_grads=True)
    settings = {
        "width": math.inf,
        "passes": 1,
        "minibatches": 1,
        "learning_rate": 1e-3,
        "max_grad_norm": 1e6,
    }
    stream = Generator().manual_seed(0)
    moved, after, metrics = imitate(
        POLICY, PARAMS, state, targets="both", generator=stream, **settings
    )
    assert metrics["train/imitation_loss"] == pytest.approx(float(loss.detach()))
    for name, value in zip(at, gradient, strict=True):
        torch.testing.assert_close(after[f"{ADAM}adam.first.{name}"], 0.1 * value, msg=name)
    assert torch.equal(moved["log_std"], PARAMS["log_std"])
    assert all(torch.equal(moved[name], PARAMS[name]) for name in PARAMS if name.startswith("obs_"))
    for _ in range(60):
        moved, after, metrics = imitate(
            POLICY, moved, after, targets="both", generator=stream, **settings | {"passes": 4}
        )
    assert metrics["train/imitation_loss"] < 0.8 * float(loss.detach())
