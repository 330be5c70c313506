import numpy as np
import pytest
import torch

from metarl.evaluation.controls import averaged, exchanged, other_tasks


@pytest.mark.parametrize(
    "groups", [[0, 1, 2, 3, 4], [0, 1, 0, 1], [0, 0, 1, 1, 2, 2, 2], [2, 0, 2, 1, 1, 0]]
)
def test_every_task_meets_the_parameters_of_a_different_one_and_each_is_used_once(groups):
    groups = np.array(groups)
    others = other_tasks(groups)
    assert sorted(others) == list(range(len(groups)))
    assert (groups[others] != groups).all()


def test_partners_are_as_random_as_the_tasks_are_drawn_whatever_their_numbers():
    # Numbers by rising value: a shift in that order would give each task its nearest neighbour.
    assert other_tasks(np.array([2, 0, 3, 1])).tolist() == [1, 2, 3, 0]


@pytest.mark.parametrize("groups", [[0], [0, 0, 0], [0, 0, 1]])
def test_no_control_where_one_task_fills_more_than_half_of_the_places(groups):
    assert other_tasks(np.array(groups)) is None


def test_parameters_are_exchanged_and_averaged_entry_by_entry():
    adapted = {"weight_0": torch.tensor([[1.0, 2.0], [3.0, 4.0], [8.0, 0.0]])}
    swapped = exchanged(adapted, np.array([1, 2, 0]))["weight_0"]
    assert swapped.tolist() == [[3.0, 4.0], [8.0, 0.0], [1.0, 2.0]]
    assert averaged(adapted)["weight_0"].tolist() == [[4.0, 2.0]] * 3
