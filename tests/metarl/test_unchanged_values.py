"""Training, evaluation and adaptation compute the very bits that they did when they were recorded.

What is computed, and how to record it anew, is in `unchanged_values.py`.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from support.unchanged_values import CASES, RECORDED, compute, differences, digest, digests, machine

WRITTEN = json.loads(RECORDED.read_text())


@pytest.fixture
def same_arithmetic():
    """Skip where numbers are rounded otherwise than where they were recorded."""
    here, there = machine(), WRITTEN["machine"]
    other = [f"{n} {here.get(n)} (recorded: {there.get(n)})" for n in here | there
             if here.get(n) != there.get(n)]  # fmt: skip
    if other:
        pytest.skip(f"bits differ by machine and version, and here are {', '.join(other)}")


def test_every_case_is_recorded():
    assert list(WRITTEN["cases"]) == list(CASES)


@pytest.mark.parametrize("case", CASES)
def test_values_are_unchanged(case, tmp_path, same_arithmetic):
    if case.startswith(("robust", "finetuned")):
        pytest.importorskip("stable_baselines3")
    assert differences(compute(case, tmp_path), WRITTEN["cases"][case]) == []


def test_a_single_bit_of_a_tensor_shows():
    value = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    for bit in (0, 22, 31):
        flipped = value.copy()
        flipped.view(np.uint32)[2, 1] ^= 1 << bit
        assert digest(flipped) != digest(value)
    assert digest(value.copy()) == digest(value)
    assert digest(value.T) != digest(value)
    assert digest(value.reshape(4, 3)) != digest(value)
    assert digest(np.zeros(2)) != digest(np.zeros(2, np.int64)) != digest(-np.zeros(2))


def test_the_last_bit_of_a_metric_shows():
    logged = [0.1, None, 3, -7.25]
    assert digest([math.nextafter(0.1, 1), None, 3, -7.25]) != digest(logged)
    assert digest([0.1, 0.0, 3, -7.25]) != digest(logged)
    assert digest([0.0]) != digest([-0.0])
    assert digest([[1, 2], 3]) != digest([1, [2, 3]])
    assert digest(json.loads(json.dumps(logged))) == digest(logged)


def test_a_difference_says_whether_names_alone_changed():
    recorded = digests(
        {"parameters": {"w": np.ones(2), "b": np.zeros(2)}, "metrics": {"kl": [1.0]}}
    )
    assert differences(recorded, recorded) == []
    other = digests({"parameters": {"w": np.ones(2), "b": np.ones(2)}, "metrics": {}})
    assert differences(other, recorded) == [
        "metrics: gone: ['kl']",
        "parameters: other values: ['b']",
    ]
    renamed = digests({"parameters": {"a": np.ones(2), "b": np.zeros(2)}, "metrics": {"kl": [1.0]}})
    assert differences(renamed, recorded) == [
        "parameters: names alone changed, from ['b', 'w'] to ['a', 'b']"
    ]
