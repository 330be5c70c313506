"""Fuzzed values: tasks and configurations."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from experiments.faults.trying import Attempts, WrongOkError
from metarl.cli.tasks import parse_switches, parse_task
from metarl.methods.config import from_json, to_json
from metarl.methods.families import recipe
from metarl.methods.meta import METHODS
from metarl_envs import FAMILIES, TaskFamily, Tasks, get_family

SHIPPED = sorted(FAMILIES)
odd_numbers = st.one_of(
    st.floats(),
    st.integers(-3, 3),
    st.sampled_from([10**400, -(10**30), 2**63, 1e308, -0.0, 1e-320]),
)
leaves = st.one_of(st.none(), st.booleans(), odd_numbers, st.text(max_size=8))
anything = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
"""JSON values."""
not_json = st.sampled_from(
    [b"1", 1j, {1}, np.zeros(3), np.array("a"), torch.ones(2), torch.tensor(0.5), np.float16(1),
     np.array([None]), object, range(3), [[1.0], [2.0, 3.0]], np.datetime64(1, "s"), iter([1])]
)  # fmt: skip


@st.composite
def tasks(draw: st.DrawFn) -> tuple[str, str, Any]:
    """A family, how the task is given, and the task."""
    name = draw(st.sampled_from(SHIPPED))
    known = [p.name for p in get_family(name).parameters]
    names = st.one_of(st.sampled_from(known), st.text(max_size=6))
    how = draw(st.sampled_from(["texts", "switches", "values"]))
    if how == "values":
        values = st.one_of(anything, not_json)
        given = draw(st.one_of(st.dictionaries(names, values, max_size=3), values))
        return name, how, given
    number = st.one_of(st.floats(-1, 1).map(str), st.sampled_from(WRITTEN), st.text(max_size=4))
    vector = st.lists(number, min_size=1, max_size=3).map(",".join)
    text = st.one_of(st.tuples(names, vector).map("=".join), st.text(max_size=12))
    if how == "switches":
        time = st.one_of(st.floats(0, 5).map(str), st.sampled_from([*WRITTEN, "1s", "s"]))
        text = st.one_of(st.tuples(time, text).map(":".join), st.text(max_size=12))
    return name, how, draw(st.lists(text, max_size=3))


WRITTEN = ("nan", "inf", "1e999", "-0", "", " 1", "1_0", "٣", "0x1", "1e", "--1", "9" * 400)


def use_task(given: tuple[str, str, Any]) -> None:
    """Make a task of texts or values; it must hold the numbers that were given."""
    name, how, task = given
    family = get_family(name)
    if how == "switches":
        for values in parse_switches(family, task).values():
            family.make_task(values)
        return
    made = family.make_task(task) if how == "values" else parse_task(family, task)
    said = task.items() if how == "values" else (text.split("=", 1) for text in task)
    for parameter, value in said:
        if how == "texts":
            value = [float(number) for number in value.split(",")]
        _check_task(family, made, parameter, value)


def _check_task(family: TaskFamily, made: Tasks, name: str, value: Any) -> None:  # noqa: ANN401
    held = made.values[name][0].numpy()
    given = np.asarray(value, dtype=np.float64)
    if not np.isfinite(held).all():
        raise WrongOkError(f"{name} is not finite")
    if not np.array_equal(held.ravel(), np.broadcast_to(given.ravel(), held.size)):
        raise WrongOkError(f"{name} = {held}, not {given}")


@st.composite
def changed_tree(draw: st.DrawFn, tree: Any) -> tuple[Any, list[tuple[Any, ...]]]:  # noqa: ANN401
    """A JSON value with one or two changes, and the paths of the values that were replaced."""
    data, replaced = copy.deepcopy(tree), []
    for _ in range(draw(st.integers(1, 2))):
        paths = list(_paths(data))
        if not paths:
            break
        path = paths[draw(st.integers(0, 10**4)) % len(paths)]
        parent = _at(data, path[:-1])
        kind = draw(st.sampled_from(["set", "set", "set", "drop", "add"]))
        if kind == "set":
            parent[path[-1]] = draw(st.one_of(anything, st.just(parent[path[-1]]).map(_near)))
            replaced = [p for p in replaced if p[: len(path)] != path] + [path]
        elif kind == "drop":
            del parent[path[-1]]
            replaced = []
        elif isinstance(parent, dict):
            parent[draw(st.text(max_size=6))] = draw(anything)
    return data, replaced


def _near(value: Any) -> Any:  # noqa: ANN401
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int | float) else str(value)


def _paths(data: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401
    items = data.items() if isinstance(data, dict) else ()
    items = enumerate(data) if isinstance(data, list) else items
    for key, value in items:
        yield (*at, key)
        yield from _paths(value, (*at, key))


def _at(data: Any, path: tuple[Any, ...]) -> Any:  # noqa: ANN401
    for key in path:
        data = data[key]
    return data


@cache
def _recipes() -> tuple[dict[str, Any], ...]:
    """Every method's configuration as JSON."""
    made = (recipe("navigation", method) for method in METHODS)
    return tuple(json.loads(json.dumps(to_json(config))) for config in made)


configs = st.sampled_from(range(len(METHODS))).flatmap(lambda i: changed_tree(_recipes()[i]))


def use_config(given: tuple[Any, list[tuple[Any, ...]]]) -> None:
    """Read a configuration; what was given must be in it, with its type."""
    data, replaced = given
    read = json.loads(json.dumps(to_json(from_json(data))))
    for path in replaced:
        found, wanted = _at(read, path), _at(data, path)
        if isinstance(found, dict) and isinstance(wanted, dict):
            found = {key: value for key, value in found.items() if key in wanted}  # rest: defaults
        same = found == wanted and isinstance(found, bool) == isinstance(wanted, bool)
        if not same:
            raise WrongOkError(f"{'.'.join(map(str, path))} = {found!r}, not {wanted!r}")


KINDS = {
    "tasks": Attempts(tasks(), use_task),
    "configurations": Attempts(configs, use_config),
}
