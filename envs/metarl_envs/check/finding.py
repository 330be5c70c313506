"""The result of one check of a task family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from metarl_envs.tasks import Tasks

Verdict = Literal["ok", "note", "FAILED"]
"""`note`: not certainly an error, but the user should check that it is intended."""
ROUNDING = 1e-12
"""Differences below this share of what is compared are rounding, and no effect."""


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    name: str
    verdict: Verdict
    text: str
    """The test and its result; for a failure, also how to fix it."""

    @property
    def ok(self) -> bool:
        """True unless it failed."""
        return self.verdict != "FAILED"

    def __str__(self) -> str:
        return f"{self.verdict:<6}  {self.name}: {self.text}"


def described_task(tasks: Tasks, index: int) -> str:
    """One task with three digits: "mass=0.5 goal=0.3,-0.2"."""
    return " ".join(
        f"{name}={','.join(f'{number:.3g}' for number in value[index].flatten().tolist())}"
        for name, value in tasks.values.items()
    )


def listed(names: list[str], most: int = 3) -> str:
    """Some names in a row: "a, b, c and 4 more"."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def spread(values: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """The largest minus the smallest finite number along axes; 0 where there is none."""
    finite = values.double()
    high = finite.nan_to_num(nan=-float("inf"), posinf=-float("inf")).amax(dim)
    low = finite.nan_to_num(nan=float("inf"), neginf=float("inf")).amin(dim)
    return (high - low).clamp(min=0.0).nan_to_num()


def size(values: Tensor) -> float:
    """The largest finite magnitude."""
    return float(values.double().nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).abs().max())
