import numpy as np
import pytest
import torch

from metarl_envs import InputError
from metarl_envs.inputs.numbers import INT64, is_number, real, reals, tensor, whole, wholes


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


def test_a_whole_number_has_a_largest_where_one_is_given():
    assert whole("horizon", 2**63 - 1, most=INT64) == 2**63 - 1
    with pytest.raises(InputError, match=f"^horizon = {2**70}: must be at most {2**63 - 1}$"):
        whole("horizon", 2**70, most=INT64)


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


def test_whole_numbers_keep_every_digit():
    for large in (2**53 + 1, 2**70 + 1):
        assert whole("seed", large) == large
    for large in (np.int64(2**53 + 1), torch.tensor(2**53 + 1), np.uint64(2**53 + 1)):
        assert whole("seed", large) == 2**53 + 1


def test_rows_of_whole_numbers_are_tuples_of_ints():
    for row in ([0, 2.0], range(0, 4, 2), np.array([0, 2]), torch.tensor([0.0, 2.0])):
        found = wholes("entries", row)
        assert found == (0, 2)
        assert all(type(entry) is int for entry in found)
    with pytest.raises(InputError, match=r"entries\[1\] = 0.5: must be a whole number"):
        wholes("entries", [0, 0.5])


@pytest.mark.parametrize("value", [0.5, [[0.1, 2]], np.float32([1.5]), torch.ones(2, 2)])
def test_numbers_of_any_shape_are_a_new_tensor_in_double_precision(value):
    found = tensor("action", value)
    assert found.dtype == torch.float64
    assert found.tolist() == (value if isinstance(value, float | list) else value.tolist())
    found += 1
    assert not np.array_equal(found, value)


@pytest.mark.parametrize("value", [True, [0.5, True], "1", None, [[1.0], [1.0, 2.0]], 1j, b"1"])
def test_what_is_no_number_is_none_in_any_shape(value):
    assert not is_number(value)
    with pytest.raises(InputError, match=r"^action = .*: must be numbers"):
        tensor("action", value)


@pytest.mark.parametrize("value", [1, 0.5, np.int8(1), np.float16(0.5), torch.tensor(1)])
def test_a_single_number_is_one(value):
    assert is_number(value)
    assert is_number([value]) is False
