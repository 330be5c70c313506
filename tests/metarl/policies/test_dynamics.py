"""Dynamics models: the gradient through the adaptation, and worlds that never mix."""

from __future__ import annotations

import pytest
import torch
from torch import Generator

from metarl.policies.dynamics import GAIN, MEMORY, RATE, RIDGE, Dynamics, Steps
from metarl.policies.params import learned

I, D, W, E = 3, 2, 5, 4
ADAPTS = ("gradient", "recurrent", "nothing")


def model(adapts="gradient", networks=2, rate=0.3) -> Dynamics:
    return Dynamics(I, D, 1, networks, (6,), "tanh", adapts, memory_size=4, first_rate=rate)


def params_of(dynamics, seed=0, policies=None):
    """Random float64 parameters, none of them 0."""
    generator = Generator().manual_seed(seed)
    fresh = dynamics.init(generator)
    moved = {
        name: value.double() + 0.1 * torch.randn(value.shape, generator=generator).double()
        for name, value in fresh.items()
    }
    return {n: v.expand(policies, *v.shape) for n, v in moved.items()} if policies else moved


def some_steps(number, seed, leading=(E,)) -> Steps:
    generator = Generator().manual_seed(seed)

    def drawn(size):
        return torch.randn(*leading, number, size, generator=generator).double()

    valid = torch.arange(number) >= torch.arange(leading[-1]).unsqueeze(1)  # world e lacks e steps
    valid = valid.expand(*leading, number)
    known = valid.unsqueeze(-1)
    return Steps(drawn(I) * known, drawn(D) * known, valid)


@pytest.mark.parametrize("adapts", ADAPTS)
def test_the_meta_gradient_agrees_with_finite_differences(adapts):
    dynamics = model(adapts)
    params, past, following = params_of(dynamics), some_steps(W, 1), some_steps(6, 2)

    def loss(entries):
        return dynamics.errors(dynamics.adapted(entries, past), following).sum()

    free = {name: value.clone().requires_grad_() for name, value in learned(params).items()}
    gradient = torch.autograd.grad(loss(params | free), list(free.values()), allow_unused=True)
    assert not [n for n, g in zip(free, gradient, strict=True) if g is None or not g.any()]
    eps = 1e-6
    for name, slope in zip(free, gradient, strict=True):
        for index in (0, slope.numel() // 2, slope.numel() - 1):
            ends = []
            for sign in (1, -1):
                moved = params[name].clone()
                moved.view(-1)[index] += sign * eps
                ends.append(float(loss(params | {name: moved})))
            assert float(slope.reshape(-1)[index]) == pytest.approx(
                (ends[0] - ends[1]) / (2 * eps), rel=1e-4, abs=1e-6
            )


def test_the_step_is_one_down_the_mean_error_on_the_window_by_hand():
    """A linear model of one number: w' = w - rate * mean of the errors' slopes over W steps."""
    dynamics = Dynamics(1, 1, 0, 1, (), "tanh", "gradient", memory_size=0, first_rate=0.5)
    params = {n: v.double() for n, v in dynamics.init(Generator().manual_seed(0)).items()}
    params |= {
        "weight_0": torch.full((1, 1, 1), 2.0).double(),
        RATE + "bias_0": torch.tensor(-50.0),
    }
    past = Steps(
        torch.tensor([[[0.0], [3.0]]]).double(),
        torch.tensor([[[0.0], [5.0]]]).double(),
        torch.tensor([[False, True]]),
    )
    adapted = dynamics.adapted(params, past)
    slope = 2 * (2.0 * 3.0 - 5.0) * 3.0 / 2  # of two places one holds a step
    assert float(adapted["weight_0"]) == pytest.approx(2.0 - 0.5 * slope)
    assert float(adapted["bias_0"].abs()) < 1e-12


@pytest.mark.parametrize("fault", [0.0, -1.0, 1.0])
def test_a_dead_or_reversed_actuator_shows_in_its_factor_alone(fault):
    """Of a linear model of a healthy robot."""
    dynamics = Dynamics(3, 1, 2, 1, (), "tanh", "gradient", memory_size=0, first_rate=1e-20)
    params = {n: v.double() for n, v in dynamics.init(Generator().manual_seed(0)).items()}
    weight = torch.tensor([0.5, 2.0, 2.0]).double()  # of a state and two actuators
    params |= {
        "weight_0": weight.view(1, 3, 1),
        "bias_0": torch.zeros(1, 1).double(),
        RIDGE: torch.tensor(-40.0).double(),
    }
    inputs = torch.tensor([[1, 1, 1], [2, 0.5, -1], [-1, -1, 0.2], [0, -1, -2]]).double()[None]
    changes = inputs @ (weight * torch.tensor([1.0, 1.0, fault]).double()).unsqueeze(-1)
    past = Steps(inputs, changes, torch.ones(1, 4, dtype=torch.bool))
    adapted = dynamics.adapted(params, past)
    assert adapted[GAIN].flatten().tolist() == pytest.approx([1.0, fault], abs=1e-12)
    assert float(dynamics.errors(adapted, past).max()) < 1e-20


def test_the_ridge_keeps_factors_at_1_by_hand():
    """One actuator of effect w: its missing share is S / (S + ridge), S = w^2 sum of a^2."""
    dynamics = Dynamics(2, 1, 1, 1, (), "tanh", "gradient", memory_size=0, first_rate=1e-20)
    params = {n: v.double() for n, v in dynamics.init(Generator().manual_seed(0)).items()}
    params |= {
        "weight_0": torch.tensor([[[0.5], [2.0]]]).double(),
        "bias_0": torch.zeros(1, 1).double(),
        RIDGE: torch.tensor(3.0).double().log(),
    }
    inputs = torch.tensor([[[0.0, 0.0], [1.0, 0.5], [3.0, -1.0]]]).double()
    valid = torch.tensor([[False, True, True]])
    past = Steps(inputs, inputs[..., :1] * 0.5, valid)  # as of a dead actuator
    S = 4.0 * (0.25 + 1.0)
    gain = dynamics.adapted(params, past)[GAIN]
    assert float(gain) == pytest.approx(1 - S / (S + 3.0), abs=1e-12)


@pytest.mark.parametrize("adapts", ADAPTS)
@pytest.mark.parametrize("policies", [None, 2])
def test_worlds_and_policies_do_not_mix(adapts, policies):
    dynamics = model(adapts)
    leading = (E,) if policies is None else (policies, E)
    params = params_of(dynamics, policies=policies)
    past, following = some_steps(W, 3, leading), some_steps(7, 4, leading)
    together = dynamics.errors(dynamics.adapted(params, past), following)
    assert together.shape == (*leading, 2, 7)
    for e in range(E):

        def world(steps, e=e):
            one = slice(e, e + 1)
            return Steps(
                steps.inputs[..., one, :, :],
                steps.changes[..., one, :, :],
                steps.valid[..., one, :],
            )

        alone = dynamics.errors(dynamics.adapted(params, world(past)), world(following))
        assert torch.allclose(alone[..., 0, :, :], together[..., e, :, :], atol=1e-12)


@pytest.mark.parametrize("adapts", ADAPTS)
def test_a_model_without_steps_is_the_unadapted_one(adapts):
    dynamics = model(adapts)
    params, past = params_of(dynamics), some_steps(W, 5)
    none = Steps(past.inputs * 0, past.changes * 0, torch.zeros_like(past.valid))
    adapted, start = dynamics.adapted(params, none), dynamics.unadapted(params, E)
    factors = {GAIN: torch.ones(E, 2, 1).double()} if adapts == "gradient" else {}
    assert adapted.keys() == start.keys() | factors
    assert all(torch.equal(adapted[name], value) for name, value in (start | factors).items())
    assert (MEMORY in start) is (adapts == "recurrent")


def test_acting_records_no_gradient():
    dynamics = model()
    params = {name: value.requires_grad_() for name, value in params_of(dynamics).items()}
    with torch.no_grad():
        adapted = dynamics.adapted(params, some_steps(W, 1))
    assert not any(value.requires_grad for value in adapted.values())
    assert not torch.equal(adapted["weight_0"][3], params["weight_0"])
