import json
import math

import pytest
import torch

from experiments import sinusoid
from experiments.sinusoid import (
    METHODS,
    Options,
    main,
    measure,
    meta_train,
    network,
    sample_losses,
)
from metarl.adaptation.base import Batch, adapt
from metarl.policies.params import expand
from metarl.versions import versions

BY_NAME = {method.name: method for method in METHODS}


def test_loss_is_the_squared_distance_from_sine_waves_of_the_papers_distribution():
    policy = network(BY_NAME["MAML"])
    params = policy.init(torch.Generator().manual_seed(0))
    zero = expand({name: torch.zeros_like(value) for name, value in params.items()}, 20_000)
    losses = sample_losses(policy, 20_000, 2, 3, torch.Generator().manual_seed(0))
    # E[a^2] E[sin^2]: the phase covers a whole period of sin^2, whose mean is a half.
    expected = (5**3 - 0.1**3) / (3 * (5 - 0.1)) / 2
    assert expected == pytest.approx(4.25, abs=0.01)
    for loss in losses:
        errors = loss(zero)
        assert errors.shape == (20_000,)
        standard_error = float(errors.std()) / math.sqrt(20_000)
        assert float(errors.mean()) == pytest.approx(expected, abs=4 * standard_error)


@pytest.mark.parametrize("name", ["MAML", "Reptile"])
def test_one_meta_iteration_follows_its_outer_rule(name):
    method, generator = BY_NAME[name], torch.Generator().manual_seed(3)
    start = network(method).init(generator)
    given, others = sample_losses(network(method), 25, 10, 10, generator)
    theta = {key: value.clone().requires_grad_() for key, value in start.items()}
    adapted = adapt(method.adaptation, expand(theta, 25), [Batch(given)] * method.inner_steps)
    trained = meta_train(method, iterations=1, seed=3)
    if method.reptile:
        expected = {key: value.mean(0) for key, value in adapted.items()}
    else:
        others(adapted).mean().backward()
        expected = dict(start)
        for key in start.keys() - {"log_std"}:  # No error depends on it.
            grad = theta[key].grad
            expected[key] = start[key] - method.outer_lr * grad / (grad.abs() + 1e-8)  # Adam's
    assert trained.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(trained[key], value.detach(), rtol=0, atol=1e-6)


def test_maml_adapts_in_one_step_and_a_pretrained_network_does_not():
    options = Options(iterations=0.1, tasks=100)
    before, after, later = measure(BY_NAME["MAML"], options)["errors"][10]
    _, baseline, baseline_later = measure(BY_NAME["pretrained"], options)["errors"][10]
    assert after.high < 0.6 * before.low
    assert after.high < 0.7 * baseline.low
    assert later.high < 0.6 * baseline_later.low
    assert later.estimate < 0.8 * after.estimate


@pytest.mark.parametrize("name", BY_NAME)
def test_every_method_is_trained_adapts_and_gives_numbers(name):
    rows = [measure(BY_NAME[name], Options(iterations=i, tasks=40)) for i in (0.001, 0.005)]
    errors = [row["errors"][10] for row in rows]
    for before, after, later in errors:
        assert all(map(math.isfinite, (*before, *after, *later)))
        assert len({before.estimate, after.estimate, later.estimate}) == 3
    assert errors[0] != errors[1]


def test_the_same_seed_gives_the_same_numbers_and_another_one_others():
    runs = [measure(BY_NAME["MAML"], Options(seed, 0.002, 40))["errors"] for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_table_and_file_hold_every_method_and_the_papers_numbers(tmp_path, monkeypatch, capsys):
    methods = [BY_NAME["MAML"], BY_NAME["CAVIA"]]
    monkeypatch.setattr(sinusoid, "METHODS", methods)
    main(Options(iterations=0.0005, tasks=20, out=tmp_path / "results" / "sinusoid.json"))
    table = capsys.readouterr().out.splitlines()
    assert [line[:17].strip() for line in table[:-1]] == [
        "method", "MAML", "MAML", "CAVIA", "pretrained, paper", "MAML, paper",
    ]  # fmt: skip
    assert table[-2].split() == ["MAML,", "paper", "5", "0.67", "0.38"]
    saved = json.loads((tmp_path / "results" / "sinusoid.json").read_text())
    assert saved["options"]["seed"] == "0"
    assert saved["versions"] == versions()
    assert [row["name"] for row in saved["methods"]] == ["MAML", "CAVIA"]
    assert saved["methods"][0]["iterations"] == 2
    assert list(saved["methods"][0]["errors"]) == ["10", "5"]
    for row in saved["methods"]:
        estimate, low, high = row["errors"]["10"][1]
        assert low < estimate < high


def test_divergence_is_said_and_is_no_number():
    method = sinusoid.Method("wild", sinusoid.GradientStep(10.0), 1)
    before, after, later = measure(method, Options(tasks=20))["errors"][10]
    assert before is not None and after is None and later is None
