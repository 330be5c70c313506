"""Troubles of a training are seen in its metrics, and reported once when they begin."""

from __future__ import annotations

import dataclasses
import json
import math
import re

import pytest
from support.tiny_runs import TINY

from metarl.adaptation.none import Unadapted
from metarl.methods.config import with_settings
from metarl.methods.families import recipe
from metarl.methods.meta import METHODS
from metarl.runs.checkpoint import create_run
from metarl.training import trainer
from metarl.training.health import Watch, health_metrics


def iteration(kl, gain, **evaluated):
    returns = {"rollout/return_pre": -10.0, "rollout/return_post": gain - 10.0}
    metrics = {"inner/kl": kl, "rollout/adaptation_gain": gain, **returns}
    return metrics | {f"eval/{name}": value for name, value in evaluated.items()}


def evaluated(post, best=-13.8, error=1.0, kl=0.5):
    names = {"return_post": post, "best_return_post": best, "best_iteration": 30.0}
    return iteration(kl, 5.0, **names, standard_error=error)


def flagged(metrics):
    return metrics | health_metrics(metrics)


@pytest.mark.parametrize(
    ("kl", "gain", "exploded"),
    [
        (0.1, -1.0, 0.0),  # a small step that does not pay yet
        (9.9, -1.0, 0.0),
        (10.1, -1.0, 1.0),
        (150.0, -5.0, 1.0),
        (250.0, 400.0, 0.0),  # as the bundled policy's: far, and well spent
        (math.inf, -1.0, 1.0),
        (math.nan, math.nan, 1.0),
    ],
)
def test_a_step_explodes_that_goes_far_and_does_not_pay(kl, gain, exploded):
    assert health_metrics(iteration(kl, gain)) == {"health/exploded": exploded}


@pytest.mark.parametrize(
    ("post", "error", "worse"),
    [
        (-13.8, 1.0, 0.0),
        (-13.8 - 2.8, 1.0, 0.0),  # two standard errors of a difference are 2.83
        (-13.8 - 2.9, 1.0, 1.0),
        (-28.0, 1.0, 1.0),
        (-28.0, 10.0, 0.0),
        (-28.0, math.nan, 0.0),  # a single task
        (math.nan, math.nan, 1.0),
    ],
)
def test_a_policy_is_worse_that_is_clearly_below_the_best(post, error, worse):
    assert health_metrics(evaluated(post, error=error))["health/worse"] == worse


def test_nothing_is_worse_than_a_best_that_is_not_there():
    assert health_metrics(evaluated(math.nan, best=-math.inf, error=math.nan)) == {
        "health/exploded": 0.0,
        "health/worse": 0.0,
    }


def reports(watch, *metrics):
    return [watch.reports(i, flagged(m)) for i, m in enumerate(metrics, start=1)]


def test_an_explosion_is_reported_once_until_it_has_gone_back():
    bad, good = iteration(150.0, -5.0), iteration(0.1, 5.0)
    found = reports(Watch(TINY, []), bad, bad, good, *[bad] * 5, good, *[bad] * 3)
    assert [i for i, texts in enumerate(found, start=1) if texts] == [6, 12]
    (text,) = found[5]
    assert text == (
        "iteration 6: the inner step has exploded: it moves policies by 150 nats, and they return "
        "-15.0 after it, -10.0 before; smaller inner steps may help: --inner.inner-lr 0.033"
    )


def test_a_training_that_gets_worse_is_reported_once_until_it_has_gone_back():
    bad, good, between = evaluated(-28.0), evaluated(-13.0), iteration(0.1, 5.0)
    course = [bad, between, bad, between, bad, good, bad, between, bad]
    found = reports(Watch(recipe("navigation", "meta-sgd"), []), *course)
    assert [i for i, texts in enumerate(found, start=1) if texts] == [3, 9]
    (text,) = found[2]
    assert text == (
        "iteration 3: training gets worse: on validation tasks the policy returns -28.0 after "
        "adaptation, that of iteration 30 (kept in best/) -13.8; inner steps move it by 0.5 "
        "nats; a smaller outer step may help: --outer.learning-rate 0.00033"
    )


def test_one_evaluation_is_enough_where_steps_go_far():
    """As on a robot of one's own: -13.8 at iteration 30, -28.0 at 60, steps of 90 to 200 nats."""
    far = evaluated(-28.0, kl=120.0)
    assert health_metrics(far) == {"health/exploded": 0.0, "health/worse": 1.0}  # the gain is 5
    found = reports(Watch(recipe("navigation", "meta-sgd"), []), evaluated(-13.8), far, far)
    assert [len(texts) for texts in found] == [0, 1, 0]
    assert found[1][0].endswith(
        "inner steps move it by 120.0 nats; smaller inner steps may help: "
        "--outer.inner-kl-penalty 0.005 or --inner.init-rate 0.033"
    )
    unreadable = flagged(far) | {"inner/kl": None}  # infinite, in a log
    assert not Watch(TINY, [unreadable]).reports(3, flagged(far))


def test_a_resumed_run_says_what_a_whole_one_would():
    bad = [flagged(iteration(150.0, -5.0)) for _ in range(5)]
    late = Watch(TINY, bad[:2])
    assert late.reports(3, bad[2])
    assert not Watch(TINY, bad[:3]).reports(4, bad[3])


def test_training_logs_an_explosion_and_warns(tmp_path, capsys, monkeypatch):
    measured = trainer.rollout_metrics

    def exploded(*arguments):
        return measured(*arguments) | iteration(150.0, -5.0)

    monkeypatch.setattr(trainer, "rollout_metrics", exploded)
    config = dataclasses.replace(TINY, iterations=4)
    create_run(tmp_path / "run", config, ["test"])
    trainer.train(config, trainer.initial_state(config), tmp_path / "run")
    lines = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["health/exploded"] for line in lines] == [1.0] * 4
    shown = [x for x in capsys.readouterr().err.splitlines() if "warning" in x]
    assert len(shown) == 1
    assert shown[0].startswith("metarl: warning: iteration 3: the inner step has exploded")


@pytest.mark.parametrize("method", METHODS)
def test_what_is_advised_can_be_set_in_every_method(method):
    config = recipe("navigation", method)
    watch = Watch(config, [])
    gradient_steps = not isinstance(config.inner, Unadapted)
    for inner in (True, False) if gradient_steps else (False,):
        advised = re.findall(r"--(\S+) (\d\S*)", watch._advice(inner=inner))
        for name, value in advised:
            assert with_settings(config, {name.replace("-", "_"): float(value)}) != config
        assert advised
