"""Tasks: struct of arrays, slicing, concatenation, JSON."""

from __future__ import annotations

import json

import pytest
import torch

from metarl_envs import FAMILIES, Tasks


def some() -> Tasks:
    return Tasks({"a": torch.tensor([1.0, 2.0, 3.0]), "b": torch.arange(6.0).reshape(3, 2)})


@pytest.mark.parametrize("name", FAMILIES)
def test_json_round_trip_is_exact_for_every_family(name, generator):
    tasks = FAMILIES[name].sample_tasks(5, generator, "train")
    again = Tasks.from_json(json.loads(json.dumps(tasks.to_json())))
    assert again == tasks
    assert hash(again) == hash(tasks)


def test_slicing_keeps_the_task_axis_and_copies():
    tasks = some()
    assert tasks[1].to_json() == {"a": [2.0], "b": [[2.0, 3.0]]}
    assert tasks[1:].to_json()["a"] == [2.0, 3.0]
    assert tasks[[2, 0]].to_json()["b"] == [[4.0, 5.0], [0.0, 1.0]]
    assert tasks[torch.tensor([False, True, False])] == tasks[1]
    assert [part.to_json()["a"] for part in tasks] == [[1.0], [2.0], [3.0]]
    tasks[0].values["a"][0] = 9.0
    assert tasks.to_json()["a"] == [1.0, 2.0, 3.0]


def test_concatenation_undoes_slicing_and_wants_equal_names():
    tasks = some()
    assert Tasks.concatenate([tasks[:1], tasks[1:]]) == tasks
    with pytest.raises(ValueError, match="parameter names differ"):
        Tasks.concatenate([tasks, Tasks({"a": torch.ones(1)})])


def test_repeat_is_task_major():
    assert some().repeat(2).to_json()["a"] == [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]


def test_describe_gives_plain_numbers():
    assert some().describe(2) == {"a": 3.0, "b": [4.0, 5.0]}


def test_equality_is_by_value():
    assert some() == some()
    assert some() != some()[:2]
    assert some() != Tasks({"a": torch.tensor([1.0, 2.0, 3.0])})
    assert some() != 3


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="at least one named parameter"):
        Tasks({})
    with pytest.raises(ValueError, match="leading axis"):
        Tasks({"a": torch.ones(2), "b": torch.ones(3)})
