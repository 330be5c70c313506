"""Adam against torch's own, and that nothing is changed in place."""

from __future__ import annotations

import pytest
import torch

from metarl.adaptation.adam import adam_step, init_adam

SHAPES = {"weight_0": (3, 4), "log_std": (2,), "adaptation.rate.weight_0": (3, 4)}
SCALAR = {"adaptation.log_rate": ()}


def draw(generator, dtype, scale=1.0):
    shapes = SHAPES | SCALAR
    return {
        name: scale * torch.randn(shape, generator=generator, dtype=dtype)
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize("scale", [1.0, 1e-6])  # at 1e-6 epsilon matters
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-13)])
def test_twenty_steps_are_those_of_torch(dtype, tolerance, scale):
    generator = torch.Generator().manual_seed(0)
    params = draw(generator, dtype)
    theirs = {name: value.clone().requires_grad_() for name, value in params.items()}
    rates = {name: 0.05 if name.startswith("adaptation.") else 0.01 for name in params}
    optimizer = torch.optim.Adam(
        [{"params": [theirs[name]], "lr": rate} for name, rate in rates.items()]
    )
    start, state = params, init_adam(params)
    for _ in range(20):
        gradient = draw(generator, dtype, scale)
        for name, value in theirs.items():
            value.grad = gradient[name].clone()
        optimizer.step()
        params, state = adam_step(params, gradient, state, 0.01, 0.05)
        for name, value in theirs.items():
            assert params[name].shape == value.shape
            assert params[name].dtype == dtype
            # Of the way gone, not of the value: all of the step has to be right.
            gone, expected = params[name] - start[name], value.detach() - start[name]
            torch.testing.assert_close(gone, expected, rtol=0, atol=tolerance)
    assert float(state["adam.count"]) == 20
    moments = ("adam.first.", "adam.second.")
    assert state.keys() == {m + name for name in params for m in moments} | {"adam.count"}


def test_the_first_step_has_the_size_of_the_rate_also_in_single_precision():
    # 1 - 0.999 in single precision would make it 3e-5 too long.
    params, gradient = {"w": torch.zeros(1)}, {"w": torch.tensor([3.0])}
    moved, _ = adam_step(params, gradient, init_adam(params), 1.0, 1.0)
    assert moved["w"].item() == pytest.approx(-1.0, abs=3e-7)


def test_nothing_is_changed_in_place():
    generator = torch.Generator().manual_seed(1)
    params, gradient = draw(generator, torch.float64), draw(generator, torch.float64)
    state = init_adam(params)
    _, state = adam_step(params, gradient, state, 0.1, 0.1)
    given = (params, gradient, state)
    copies = [{name: value.clone() for name, value in tensors.items()} for tensors in given]
    adam_step(*given, 0.1, 0.1)
    for tensors, copy in zip(given, copies, strict=True):
        assert all(torch.equal(value, copy[name]) for name, value in tensors.items())


def test_the_state_keeps_its_order_and_what_is_not_its_own():
    params = draw(torch.Generator().manual_seed(2), torch.float32)
    state = init_adam(params) | {"another": torch.ones(1)}
    _, after = adam_step(params, params, state, 0.1, 0.1)
    assert list(after) == list(state)
    assert torch.equal(after["another"], torch.ones(1))
