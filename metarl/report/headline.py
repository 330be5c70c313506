"""The report's headline: the benefit of adapting, in words that need no statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence

from metarl.evaluation.method_runs import MethodPoint
from metarl.evaluation.statistics import Interval
from metarl_envs import Split

FRACTIONS = {
    0.1: "a tenth",
    0.2: "a fifth",
    0.25: "a quarter",
    0.33: "a third",
    0.4: "two fifths",
    0.5: "half",
    0.6: "three fifths",
    0.67: "two thirds",
    0.75: "three quarters",
    0.8: "four fifths",
    0.9: "nine tenths",
}
NEARLY_NONE, NEARLY_ALL = 0.05, 0.95
WIDE = 0.4
"""A share with a wider interval than this is given by both of its ends."""
ROAD = "from a policy that never adapts to one that observes the task"


def adapted_sentence(first: MethodPoint, last: MethodPoint, gap: Interval | None) -> str:
    """The benefit of a method that adapts.

    A gain is called adaptation only where another task's adapted parameters return significantly
    less.

    Args:
        first: its point before adaptation.
        last: its point after all episodes.
        gap: return of the oracle less that of the robust policy; None without both.
    """
    name, gain, over, share = last.method.label, last.gain, last.gain_over_other, last.closed
    assert gain is not None  # it adapts
    before, after = returns_text(first.mean.estimate, last.mean.estimate)
    if not math.isfinite(last.mean.estimate):
        return f"{name} diverged on every task, so nothing can be said about it."
    when = f"After {episodes_text(last.adaptation_episodes)} on a task {met(last.split)}, {name}"
    if math.isnan(gain.low):
        return f"{when} returns {after}, and {before} before; with so few tasks this may be chance."
    if gain.high < 0:
        return f"{when} is worse than before: its return falls from {before} to {after}."
    if gain.low <= 0 and before == after:
        return f"{when} shows no gain: its return stays at {after}."
    if gain.low <= 0:
        return f"{when} shows no significant gain: its return goes from {before} to {after}."
    text = f"{when} returns {after}, up from {before}"
    if over is None or last.other is None:
        return (
            f"{text}; whether that is adaptation to the task is unknown, as there is no other task "
            "to compare with."
        )
    if math.isnan(over.low):
        return f"{text}; with so few tasks it is unknown whether that is adaptation to the task."
    before, after, other = returns_text(
        first.mean.estimate, last.mean.estimate, last.other.estimate
    )
    if over.high < 0:
        return (
            f"{text}, but the gain is not adaptation to the task: another task's adaptation helps "
            f"more, to {other}."
        )
    if over.low <= 0:
        return (
            f"{text}, but the gain may not be adaptation to the task: with another task's "
            f"adaptation it returns {other}, a difference that is not significant."
        )
    if gap is None:
        return (
            f"{when} has adapted: its return rises from {before} to {after}, against {other} with "
            "another task's adaptation."
        )
    if share is None or math.isnan(share.low):
        return (
            f"{when} has adapted: its return rises from {before} to {after}. How much there was to "
            "win is unknown, since a policy that observes the task is not significantly better "
            "than one that never adapts."
        )
    swapped = last.closed_by_other.estimate if last.closed_by_other else 0.0
    if not share.low > 0 or swapped < min(FRACTIONS):
        return f"{when} {_way(share)}."
    return (
        f"{when} {_way(share)}; another task's adaptation would bring it {fraction(swapped)} of "
        "that way."
    )


def remembered_sentence(first: MethodPoint, last: MethodPoint, gap: Interval | None) -> str:
    """The benefit of a method that adapts within an episode, by its memory.

    Args:
        first: its first episode of a trial.
        last: the episode after all others.
        gap: return of the oracle less that of the robust policy; None without both.
    """
    name, over = last.method.label, last.gain_over_other
    if not math.isfinite(last.mean.estimate):
        return f"{name} diverged on every task, so nothing can be said about it."
    early, late = returns_text(first.mean.estimate, last.mean.estimate)
    text = f"In its first episode on a task {met(last.split)}, {name}"
    then = f"after {episodes_text(last.adaptation_episodes)}"
    if gap is None or first.closed is None or last.closed is None or math.isnan(first.closed.low):
        text += f" returns {early}, and {late} {then}"
    else:
        text += f" {_reached(first.closed)}; {then} it {_reached(last.closed)}"
    if over is None or last.other is None or math.isnan(over.low):
        return f"{text}."
    late, other = returns_text(last.mean.estimate, last.other.estimate)
    if over.low > 0:
        return (
            f"{text}. Begun with another task's belief, that episode returns {other}, not {late}."
        )
    return (
        f"{text}. Begun with another task's belief, that episode returns no less: the belief need "
        "not outlast an episode."
    )


def _reached(share: Interval) -> str:
    """The position of a policy with a memory between the robust policy and the oracle."""
    if share.high < 0:
        return "is worse than a policy that never adapts"
    if share.low <= 0:
        return "is not significantly better than a policy that never adapts"
    if share.low > 1:
        return "returns more than a policy that observes the task"
    return _way(share)


def _way(share: Interval) -> str:
    """The position of an adapted policy between the robust policy and the oracle."""
    if share.high < 0:
        return "has adapted, and is still worse than a policy that never adapts"
    if share.low <= 0:
        return "has adapted, but is not significantly better than a policy that never adapts"
    if share.low > 1:
        return "has adapted, and returns more than a policy that observes the task"
    wide = share.high - share.low > WIDE
    if share.low >= NEARLY_ALL or (share.estimate >= NEARLY_ALL and not wide):
        return "does about as well as a policy that observes the task"
    if wide:
        return (
            f"has come between {fraction(share.low)} and {fraction(share.high)} of the way {ROAD}"
        )
    return f"has come about {fraction(share.estimate)} of the way {ROAD}"


def fixed_sentence(points: Sequence[MethodPoint], gap: Interval | None) -> str:
    """The returns of methods of which none adapts, and what adapting could win.

    Args:
        points: one of each method, on the same split.
        gap: return of the oracle less that of the robust policy; None without both.
    """
    best = max(points, key=lambda p: (math.isfinite(p.mean.estimate), p.mean.estimate))
    (most,) = returns_text(best.mean.estimate)
    if not math.isfinite(best.mean.estimate):
        return "Every task diverged in some run, so nothing can be said."
    if len(points) == 1:
        tasks = f"on a task {met(best.split)} it returns {most}"
        return f"{best.method.label} does not adapt: {tasks}."
    none = "None of these methods adapts"
    if gap is None or math.isnan(gap.low):
        return f"{none}; the highest return, {most}, is that of {best.method.label}."
    tasks = f"on tasks {'not trained on' if best.split == 'test' else 'trained on'}"
    if gap.low > 0:
        return (
            f"{none}: {tasks}, a policy that observes the task returns "
            f"{returns_text(gap.estimate)[0]} more than one that never adapts, and that is what "
            "adapting could win."
        )
    return (
        f"{none}, and adapting may have nothing to win: {tasks}, a policy that observes the task "
        "is not significantly better than one that never adapts."
    )


def met(split: Split) -> str:
    """Relation of a split's tasks to a policy's training, in words."""
    return "it has never met" if split == "test" else "it was trained on"


def fraction(share: float) -> str:
    """A share of a way in everyday words: 0.72 -> "three quarters"."""
    if share < NEARLY_NONE:
        return "almost none"
    if share >= NEARLY_ALL:
        return "all"
    return FRACTIONS[min(FRACTIONS, key=lambda known: abs(known - share))]


def episodes_text(number: int) -> str:
    """A number of episodes: "1 episode", "20 episodes"."""
    return f"{number} episode{'' if number == 1 else 's'}"


def returns_text(*values: float) -> list[str]:
    """Returns with as many digits as tell them apart: whole numbers where they are large."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    digits = 0 if largest >= 100 else 1 if largest >= 1 else 3
    return [f"{value:z.{digits}f}" for value in values]
