"""Tasks on the command line: `--task name=value ...`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metarl_envs import TaskFamily, Tasks


def parse_task(family: TaskFamily, texts: Iterable[str]) -> Tasks:
    """One task from texts such as "mass_scale=1.3" and "goal=0.3,-0.2".

    Raises:
        InputError: for text of another form, a repeated name, or a task outside the family.
    """
    from metarl_envs import InputError

    values: dict[str, float | list[float]] = {}
    for text in texts:
        name, numbers = _named_numbers(text)
        if not numbers:
            raise InputError(
                f"--task {text}: expected name=value, such as {example_task(family)}; separate "
                "the numbers of a vector by commas"
            )
        if name in values:
            raise InputError(f"--task {text}: {name} is given twice")
        values[name] = numbers[0] if len(numbers) == 1 else numbers
    return family.make_task(values)


def parse_switches(
    family: TaskFamily, texts: Iterable[str]
) -> dict[float, dict[str, float | list[float]]]:
    """Changes of the task in mid-episode from texts such as "2.5s:goal=0.3,-0.2,mass_scale=2".

    Returns:
        New values by the second at which they begin.

    Raises:
        InputError: for text of another form, a repeated time, or a name repeated at one time.
    """
    from metarl_envs import InputError

    switches: dict[float, dict[str, float | list[float]]] = {}
    for text in texts:
        written, _, rest = text.partition(":")
        # A comma begins the next parameter if a name follows, else the vector's next number.
        named = [_named_numbers(part) for part in re.split(r",(?=[^,]*=)", rest)]
        try:
            time_s = float(written.removesuffix("s"))
        except ValueError:
            time_s = math.nan
        if math.isnan(time_s) or not all(numbers for _, numbers in named):
            raise InputError(
                f"--switch {text}: expected TIME:NAME=VALUE, such as 2.5s:{example_task(family)}; "
                "separate several parameters, and the numbers of a vector, by commas"
            )
        names = [name for name, _ in named]
        if time_s in switches or len(set(names)) < len(names):
            twice = f"{time_s:g} s" if time_s in switches else "a parameter"
            raise InputError(f"--switch {text}: {twice} is given twice; give all in one, once")
        switches[time_s] = {
            name: numbers[0] if len(numbers) == 1 else numbers for name, numbers in named
        }
    return switches


def _named_numbers(text: str) -> tuple[str, list[float]]:
    """Name and numbers of "goal=0.3,-0.2"; no numbers for text of another form."""
    name, _, written = text.partition("=")
    try:
        return name, [float(number) for number in written.split(",")]
    except ValueError:
        return name, []


def example_task(family: TaskFamily) -> str:
    """A task as text: a value of the first parameter, from the training range."""
    from torch import Generator

    from metarl_envs import InputError

    name = family.parameters[0].name
    sampled = family.sample_tasks(1, Generator().manual_seed(1), "train").values[name].flatten()
    numbers = sampled.tolist()
    for digits in (2, 6, 17):  # short, unless the rounded value is out of range
        text = f"{name}={','.join(f'{number:.{digits}g}' for number in numbers)}"
        try:
            parse_task(family, [text])
        except InputError:
            continue
        return text
    return f"{name}={','.join(map(repr, numbers))}"


def folder_name(texts: Iterable[str]) -> str:
    """A task as part of a path: "goal=0.3,-0.2 mass=2" -> "goal=0.3,-0.2_mass=2"."""
    return re.sub(r"[^\w=.,+-]", "_", "_".join(texts)) or "nominal"
