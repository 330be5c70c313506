"""The report's first sentence: what adapting brought, in words that need no statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from metarl.evaluation.statistics import Interval

FRACTIONS = (
    (0.1, "a tenth"),
    (0.2, "a fifth"),
    (0.25, "a quarter"),
    (0.33, "a third"),
    (0.4, "two fifths"),
    (0.5, "half"),
    (0.6, "three fifths"),
    (0.67, "two thirds"),
    (0.75, "three quarters"),
    (0.8, "four fifths"),
    (0.9, "nine tenths"),
)
NEARLY_NONE, NEARLY_ALL = 0.05, 0.95
WIDE = 0.4
"""A share that is known less exactly than this is told by both of its ends."""
ROAD = "from a policy that never adapts to one that observes the task"


class Outcome(NamedTuple):
    """What adapting brought a method on the tasks that the report speaks of first.

    Intervals are of means over tasks and seeds; their bounds are NaN where there is too little to
    tell, and everything is NaN where all tasks diverged.
    """

    method: str
    episodes: int
    """Adapted on."""
    before: float
    after: float
    gain: Interval
    other: float | None
    """Return with another task's adapted parameters; None where no task has another one."""
    gain_over_other: Interval | None
    gap: Interval | None
    """Return of the oracle less that of the robust policy; None without both."""
    share: Interval | None
    """Of the gap that is closed; None where there is no gap for sure."""
    share_of_other: Interval | None = None
    """The share that another task's adapted parameters close."""
    held_out: bool = True
    """Whether the tasks were kept from training."""


class Level(NamedTuple):
    """What a method that does not adapt returns."""

    method: str
    returns: float


def adapted_sentence(found: Outcome) -> str:
    """What a method that adapts is worth.

    A gain is called adaptation only where another task's adapted parameters return less for sure.
    """
    name, gain, over = found.method, found.gain, found.gain_over_other
    before, after = returns_text(found.before, found.after)
    if not math.isfinite(found.after):
        return f"{name} diverged on every task, so nothing can be said of it."
    when = f"After {episodes_text(found.episodes)} on a task {met(held_out=found.held_out)}, {name}"
    if math.isnan(gain.low):
        return (
            f"{when} returns {after}, and {before} before; with so few tasks nobody can say "
            "whether that is chance."
        )
    if gain.high < 0:
        return f"{when} is worse than before: its return falls from {before} to {after}."
    if gain.low <= 0 and before == after:
        return f"{when} shows no gain: its return stays at {after}."
    if gain.low <= 0:
        return (
            f"{when} is not shown to gain: its return goes from {before} to {after}, which may be "
            "chance."
        )
    rises = f"{when} returns {after}, up from {before}"
    if over is None or found.other is None:
        return (
            f"{rises}; whether it found out about its task cannot be told, as there is no other "
            "task to compare with."
        )
    if math.isnan(over.low):
        return f"{rises}; with so few tasks nobody can say whether that is adaptation to the task."
    before, after, other = returns_text(found.before, found.after, found.other)
    if over.high < 0:
        return (
            f"{rises}, but what it gains is not adaptation: another task's adaptation helps more, "
            f"to {other}."
        )
    if over.low <= 0:
        return (
            f"{rises}, but what it gains is not shown to be adaptation: another task's adaptation "
            f"may help as much (it brings {other})."
        )
    if found.gap is None:
        return (
            f"{when} has adapted: its return rises from {before} to {after}, and with another "
            f"task's adaptation it would be {other}."
        )
    if found.share is None or math.isnan(found.share.low):
        return (
            f"{when} has adapted: its return rises from {before} to {after}; a policy that "
            "observes the task is not shown to return more than one that never adapts, so how much "
            "there was to win is not known."
        )
    swapped = found.share_of_other.estimate if found.share_of_other else 0.0
    if not found.share.low > 0 or swapped < FRACTIONS[0][0]:
        return f"{when} {_way(found.share)}."
    return (
        f"{when} {_way(found.share)}; another task's adaptation would bring it {fraction(swapped)} "
        "of that way."
    )


def _way(share: Interval) -> str:
    """How far an adapted policy has come between the robust policy and the oracle."""
    if share.high < 0:
        return "has adapted, and is still worse than a policy that never adapts"
    if share.low <= 0:
        return "has adapted, but is not shown to be better than a policy that never adapts"
    if share.low > 1:
        return "has adapted, and returns more than a policy that observes the task"
    wide = share.high - share.low > WIDE
    if share.low >= NEARLY_ALL or (share.estimate >= NEARLY_ALL and not wide):
        return "does about as well as a policy that observes the task"
    if wide:
        least, most = fraction(share.low), fraction(share.high)
        return f"has come between {least} and {most} of the way {ROAD}"
    return f"has come about {fraction(share.estimate)} of the way {ROAD}"


def fixed_sentence(levels: Sequence[Level], gap: Interval | None, *, held_out: bool) -> str:
    """What methods are worth of which none adapts.

    Args:
        levels: their returns.
        gap: return of the oracle less that of the robust policy; None without both.
        held_out: whether the tasks were kept from training.
    """
    one = len(levels) == 1
    if held_out:
        tasks = f"on tasks {'it has' if one else 'they have'} never met"
    else:
        tasks = f"on tasks {'it was' if one else 'they were'} trained on"
    best = max(levels, key=lambda level: (math.isfinite(level.returns), level.returns))
    (most,) = returns_text(best.returns)
    if not math.isfinite(best.returns):
        return "Every task diverged in some run, so nothing can be said."
    if one:
        return f"{best.method} does not adapt: {tasks} it returns {most}."
    if gap is None or math.isnan(gap.low):
        return (
            f"None of these methods adapts; the highest return, {most}, is that of {best.method}."
        )
    if gap.low > 0:
        (size,) = returns_text(gap.estimate)
        return (
            f"None of these methods adapts: {tasks}, a policy that observes the task returns "
            f"{size} more than one that never adapts, and that is what adapting could win."
        )
    return (
        f"None of these methods adapts, and adapting may have nothing to win: {tasks}, a policy "
        "that observes the task is not shown to return more than one that never adapts."
    )


def met(*, held_out: bool) -> str:
    """How tasks stand to training."""
    return "it has never met" if held_out else "it was trained on"


def fraction(share: float) -> str:
    """A share of a way in everyday words: 0.72 -> "three quarters"."""
    if share < NEARLY_NONE:
        return "almost none"
    if share >= NEARLY_ALL:
        return "all"
    return min(FRACTIONS, key=lambda pair: abs(pair[0] - share))[1]


def episodes_text(number: int) -> str:
    """A number of episodes: "1 episode", "20 episodes"."""
    return f"{number} episode{'' if number == 1 else 's'}"


def returns_text(*values: float) -> list[str]:
    """Returns with as many digits as tell them apart: whole numbers where they are large."""
    finite = [abs(value) for value in values if math.isfinite(value)]
    largest = max(finite, default=0.0)
    digits = 0 if largest >= 100 else 1 if largest >= 1 else 3
    return [f"{value:z.{digits}f}" for value in values]
