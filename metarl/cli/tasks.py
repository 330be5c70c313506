"""Tasks on the command line: `--task name=value ...`."""

from __future__ import annotations

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
        name, separator, written = text.partition("=")
        try:
            numbers = [float(number) for number in written.split(",")]
        except ValueError:
            numbers = []
        if not separator or not numbers:
            raise InputError(
                f"--task {text}: expected name=value, such as {example_task(family)}; separate "
                "the numbers of a vector by commas"
            )
        if name in values:
            raise InputError(f"--task {text}: {name} is given twice")
        values[name] = numbers[0] if len(numbers) == 1 else numbers
    return family.make_task(values)


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
