"""Tasks from lists: a benchmark's own training and test tasks."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Generator

from metarl_envs import InputError, TaskFamily, get_family
from metarl_envs.listed import Listed

CORNERS = ((0.0, 0.5), (1.0, 0.5), (0.25, 0.5))
KINDS = Listed(
    tuple((float(k), x) for k in (0, 1, 3) for x in (0.0, 1.0, 2.0, 4.0)),
    kinds=("a", "b", "c", "d"),
)


def on_a_list(train=CORNERS, held_out=((0.5, -0.5),)) -> TaskFamily:
    navigation = get_family("navigation")
    (goal,) = navigation.parameters
    listed = dataclasses.replace(
        goal,
        train=Listed(train),
        held_out=None if held_out is None else Listed(held_out),
        extrapolation=None,
    )
    return dataclasses.replace(navigation, name="listed", parameters=(listed,))


def test_points_are_drawn_whole_and_in_equal_shares():
    drawn = Listed(CORNERS).sample(7, (2,), Generator().manual_seed(0))
    rows = [tuple(row) for row in drawn.tolist()]
    assert set(rows) == set(CORNERS)
    assert sorted(rows.count(corner) for corner in CORNERS) == [2, 2, 3]
    assert rows != sorted(rows)


def test_kinds_are_drawn_in_equal_shares_and_so_are_the_points_of_one():
    drawn = KINDS.sample(13, (2,), Generator().manual_seed(0))
    kinds = drawn[:, 0].tolist()
    assert sorted(kinds.count(k) for k in (0, 1, 2, 3)) == [0, 4, 4, 5]
    for k in (0, 1, 3):
        own = drawn[drawn[:, 0] == k, 1].tolist()
        assert set(own) == {0.0, 1.0, 2.0, 4.0}
    few = KINDS.sample(3, (2,), Generator().manual_seed(1))
    assert sorted(few[:, 0].tolist()) == [0, 1, 3]


def test_a_network_reads_measures_by_their_range_and_kinds_one_by_one():
    read = Listed(CORNERS).normalised(torch.tensor([[0.0, 0.5], [1.0, 0.5], [2.0, 9.0]]))
    # What is the same in all points is 0, whatever its value.
    assert read.tolist() == [[-1.0, 0.0], [1.0, 0.0], [3.0, 0.0]]
    read = KINDS.normalised(torch.tensor([[3.0, 1.0], [2.0, 4.0]]))
    assert read.tolist() == [[0, 0, 0, 1, -0.5], [0, 0, 1, 0, 1.0]]


def test_a_point_may_be_typed_in_decimal_digits():
    thirds = Listed(((1 / 3, 2 / 3), (0.5, 0.5)))
    given = torch.tensor([[0.3333333, 0.6666667], [0.333, 0.667], [1 / 3, 0.5]]).double()
    assert thirds.contains(given).tolist() == [[True, True], [False, False], [False, False]]
    assert thirds.describe() == "{2 points}"


@pytest.mark.parametrize(
    ("points", "kinds", "message"),
    [
        ((), (), r"points = \(\): must be at least one point"),
        (((0.0,), (1.0, 2.0)), (), r"points of \[1, 2\] numbers: all must have the same length"),
        (
            ((0.0, 1.0), (2.0, 1.0)),
            ("a", "b"),
            "kind 2 of a point: must be a whole number from 0 to 1",
        ),
        (((0.5, 1.0),), ("a", "b"), "kind 0.5 of a point"),
    ],
)
def test_lists_that_are_none_are_refused(points, kinds, message):
    with pytest.raises(InputError, match=message):
        Listed(points, kinds)


def test_a_family_holds_out_what_its_parameters_list_for_that():
    family, generator = on_a_list(), Generator().manual_seed(0)
    assert family.is_finite and family.holds_out
    assert family.splits == ("train", "test")
    trained = family.sample_tasks(6, generator, "train").values["goal"]
    tested = family.sample_tasks(6, generator, "test").values["goal"]
    assert {tuple(row) for row in trained.tolist()} == set(CORNERS)
    assert {tuple(row) for row in tested.tolist()} == {(0.5, -0.5)}
    assert "{3 points} (train) or {1 point} (test)" in family.parameters[0].describe_range()
    family.make_task({"goal": [0.5, -0.5]})
    with pytest.raises(InputError, match=r"allowed in listed is \{3 points\}"):
        family.make_task({"goal": [0.4, -0.5]})


def test_without_such_a_list_the_tasks_of_training_are_the_tasks_of_test():
    family = on_a_list(held_out=None)
    assert family.is_finite and not family.holds_out
    tested = family.sample_tasks(6, Generator().manual_seed(0), "test").values["goal"]
    assert {tuple(row) for row in tested.tolist()} == set(CORNERS)


def test_nothing_is_held_out_that_is_trained_on():
    with pytest.raises(InputError, match=r"held_out of goal = \{2 points\}: shares values"):
        on_a_list(held_out=(CORNERS[1], (0.5, -0.5)))
