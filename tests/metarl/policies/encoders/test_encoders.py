"""Sequence encoders: a scan is the loop of steps, for one policy, many policies and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Generator
from torch.nn import GRU, LSTM

from metarl.policies.encoders import ENCODERS
from metarl.policies.encoders.scan import recurrence

DOUBLE = torch.float64
D, H, LENGTH = 5, 8, 25
ALL = pytest.mark.parametrize("name", ENCODERS)


def made(name, inputs=D, size=H):
    return ENCODERS[name](inputs, size, length=LENGTH)


def random(seed, *shape):
    return torch.randn(shape, generator=Generator().manual_seed(seed), dtype=DOUBLE)


def weights(encoder, policies, seed=0):
    """Random parameters, biases included: (*policies, ...)."""
    fresh = encoder.init(Generator().manual_seed(seed))
    return {
        name: value.double() + 0.3 * random(seed + i, *policies, *value.shape)
        for i, (name, value) in enumerate(fresh.items())
    }


def start_of(encoder, params, worlds, seed=100):
    """A state that is no beginning."""
    return {
        name: 0.5 * random(seed + i, *value.shape)
        for i, (name, value) in enumerate(encoder.begin(params, worlds).items())
    }


def stepped(encoder, params, state, inputs):
    """Summaries, and the state after the last step."""
    summaries = []
    for x in inputs.unbind(-2):
        summary, state = encoder.step(params, state, x)
        summaries.append(summary)
    return torch.stack(summaries, dim=-2), state


@ALL
@pytest.mark.parametrize("policies", [(), (1,), (3,)])
@pytest.mark.parametrize("steps", [1, 60])
def test_a_scan_is_the_loop_of_steps(name, policies, steps):
    encoder = made(name)
    params = weights(encoder, policies)
    start = start_of(encoder, params, 4)
    inputs = random(50, *policies, 4, steps, D)
    expected, _ = stepped(encoder, params, start, inputs)
    found = encoder.scan(params, start, inputs)
    assert found.shape == (*policies, 4, steps, H)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    fresh = encoder.scan(params, encoder.begin(params, 4), inputs)
    assert not torch.allclose(found, fresh, atol=1e-3)  # the start matters


@ALL
def test_a_scan_in_two_parts_is_the_whole(name):
    encoder = made(name)
    params = weights(encoder, (2,))
    inputs = random(50, 2, 3, 17, D)
    first, middle = stepped(encoder, params, start_of(encoder, params, 3), inputs[..., :6, :])
    whole = encoder.scan(params, start_of(encoder, params, 3), inputs)
    parts = [first, encoder.scan(params, middle, inputs[..., 6:, :])]
    torch.testing.assert_close(torch.cat(parts, dim=-2), whole, rtol=0, atol=1e-10)


@ALL
def test_different_policies_remember_as_they_do_alone(name):
    encoder = made(name)
    params = weights(encoder, (3,))
    start, inputs = start_of(encoder, params, 4), random(50, 3, 4, 20, D)
    together = encoder.scan(params, start, inputs)
    for m in range(3):
        alone = encoder.scan(
            {key: value[m] for key, value in params.items()},
            {key: value[m] for key, value in start.items()},
            inputs[m],
        )
        torch.testing.assert_close(together[m], alone, rtol=0, atol=1e-10)


@ALL
@pytest.mark.parametrize("policies", [(), (2,)])
def test_gradients_of_a_scan_are_those_of_finite_differences(name, policies):
    encoder = made(name, inputs=2, size=4)
    params = weights(encoder, policies)
    start = start_of(encoder, params, 2)
    inputs = random(50, *policies, 2, 4, 2)
    names = [*params, *start]

    def scanned(inputs, *values):
        given = dict(zip(names, values, strict=True))
        return encoder.scan(
            {name: given[name] for name in params}, {name: given[name] for name in start}, inputs
        )

    values = [v.requires_grad_() for v in (inputs, *params.values(), *start.values())]
    assert torch.autograd.gradcheck(scanned, tuple(values), fast_mode=True)


@ALL
def test_entries_have_the_encoders_name_and_fresh_ones_follow_from_the_generator(name):
    encoder = made(name)
    one, two = (encoder.init(Generator().manual_seed(3)) for _ in range(2))
    assert all(entry.startswith("encoder.") for entry in one)
    assert all(torch.equal(one[entry], two[entry]) for entry in one)
    assert all(value.dtype == torch.float32 for value in one.values())


@ALL
def test_a_trial_starts_from_the_same_state_in_every_world(name):
    encoder = made(name)
    state = encoder.begin(weights(encoder, (3,)), 4)
    for value in state.values():
        assert value.shape[:2] == (3, 4)
        assert not value.any()


@pytest.mark.parametrize(("name", "module"), [("gru", GRU), ("lstm", LSTM)])
def test_recurrent_encoders_are_those_of_torch(name, module):
    encoder = made(name)
    params = weights(encoder, ())
    theirs = module(D, H, batch_first=True, dtype=DOUBLE)
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(params["encoder.input"].T)
        theirs.weight_hh_l0.copy_(params["encoder.hidden"].T)
        theirs.bias_ih_l0.copy_(params["encoder.input_bias"])
        theirs.bias_hh_l0.copy_(params.get("encoder.hidden_bias", torch.zeros(())))
    inputs = random(50, 4, 20, D)
    expected, _ = theirs(inputs)
    found, _ = stepped(encoder, params, encoder.begin(params, 4), inputs)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_linear_recurrence_by_hand():
    decay = torch.tensor([0.5, 0.5, 0.0]).view(1, 3, 1, 1)
    added = torch.tensor([1.0, 2.0, 7.0]).view(1, 3, 1, 1)
    found = recurrence(decay, added, torch.full((1, 1, 1), 4.0))
    assert found.flatten().tolist() == [3.0, 3.5, 7.0]


def test_a_window_looks_back_its_length_and_no_further():
    encoder = made("window")
    params = weights(encoder, ())
    start, inputs = encoder.begin(params, 1), random(50, 1, 60, D).requires_grad_()
    summary = encoder.scan(params, start, inputs)[0, -1].sum()
    (slope,) = torch.autograd.grad(summary, inputs)
    read = slope[0].abs().sum(-1) > 0
    assert read.tolist() == [False] * (60 - LENGTH) + [True] * LENGTH


def test_a_windows_kernels_are_those_of_rma():
    params = ENCODERS["window"](64, 64, 48).init(Generator().manual_seed(0))
    shapes = [params[f"encoder.convolution_{layer}"].shape for layer in range(3)]
    assert shapes == [(32, 32, 8), (32, 32, 5), (32, 32, 5)]
    assert params["encoder.summary"].shape == (3 * 32, 64)
