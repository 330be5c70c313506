import numpy as np
import pytest
import torch

from metarl_envs import InputError
from metarl_envs.numbers import real, reals, whole


@pytest.mark.parametrize(
    "three", [3, 3.0, np.int64(3), np.float32(3), np.array(3), np.array([3]), torch.tensor(3.0)]
)
def test_whatever_holds_one_whole_number_is_an_int(three):
    found = whole("episodes", three)
    assert found == 3
    assert type(found) is int


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (2.5, "episodes = 2.5: must be a whole number"),
        (np.float64("nan"), "must be a whole number"),
        (float("inf"), "must be a whole number"),
        ("3", "episodes = '3': must be a whole number"),
        (True, "episodes = True: must be a whole number"),
        (None, "episodes = None: must be a whole number"),
        (np.array([1, 2]), "must be a whole number, not 2 of them"),
        (0, "episodes = 0: must be at least 1"),
    ],
)
def test_what_is_no_whole_number_is_refused_by_name(value, problem):
    with pytest.raises(InputError) as error:
        whole("episodes", value, least=1)
    assert problem in str(error.value)


def test_a_number_is_a_plain_float_and_finite():
    found = real("rate", torch.tensor([0.5], requires_grad=True))
    assert found == 0.5
    assert type(found) is float
    with pytest.raises(InputError, match="rate = nan: must be a finite number"):
        real("rate", float("nan"))


@pytest.mark.parametrize("row", [[1, 2.5], (1, 2.5), np.array([1, 2.5]), torch.tensor([1, 2.5])])
def test_rows_of_any_type_are_tuples_of_floats(row):
    found = reals("low", row)
    assert found == (1.0, 2.5)
    assert all(type(entry) is float for entry in found)


def test_a_row_with_what_is_no_number_names_its_place():
    with pytest.raises(InputError, match=r"low\[1\] = nan"):
        reals("low", [0.0, float("nan")])
    with pytest.raises(InputError, match="numbers in a row"):
        reals("low", 1.0)
