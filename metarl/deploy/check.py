"""Tests of returns: an adaptation that made a policy worse, a robot that changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from metarl.deploy.collected import Collected
from metarl.evaluation.intervals import t_quantile
from metarl.rollouts.data import Rollouts

FALSE_ALARMS = 0.05
"""Share of checks that take back an adaptation that changed nothing, if returns are normal. A
false alarm costs an adaptation; a fall that goes unseen may cost the robot."""
REFERENCE = 5
"""Acting episodes from which a deviation of the next one can be seen."""
SHARE_OF_GAIN = 0.05
"""Least standard deviation of returns that counts, as a share of the adaptation's gain: where
returns repeat exactly, not every difference is a change."""
WORSE_LEVEL = 0.01
"""False alarms of a single comparison of acting with probing, of which there is one an episode."""


def fell(before: ArrayLike, after: ArrayLike, level: float = FALSE_ALARMS) -> tuple[bool, float]:
    """True if the mean return fell by more than its noise, and the margin of that noise.

    A one-sided t test of a difference of means. The noise is that of the episodes before alone,
    with B - 1 degrees of freedom: there are few after, by a policy whose noise may differ. With
    fewer than two before, the noise is not known, and any fall counts.

    Args:
        before: returns of episodes that did not diverge, (B,).
        after: the same of the policy after, (C,); where there is none, it fell.
        level: share of false alarms, in (0, 0.5).
    """
    old, new = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if len(new) == 0:
        return True, 0.0
    margin = noise_margin(old, len(new), level) if len(old) > 1 else 0.0
    return bool(len(old) > 0 and new.mean() < old.mean() - margin), margin


def noise_margin(before: ArrayLike, count: int, level: float = FALSE_ALARMS) -> float:
    """Fall of the mean of `count` returns below that of B >= 2 that is seen once in 1 / level."""
    old = np.asarray(before, dtype=np.float64)
    spread = float(old.std(ddof=1)) * math.sqrt(1 / len(old) + 1 / count)
    return t_quantile(len(old) - 1, 1 - 2 * level) * spread  # one of its two tails


def check(
    collections: Sequence[Collected], counted: Sequence[Rollouts], *, unfinished: bool
) -> dict[str, Any]:
    """Verdict on the adapted policy, stops and divergence first, as JSON values.

    Args:
        collections: all of the adaptation: the first is of the policy before it, the last of the
            adapted policy.
        counted: the same with the cost of being stopped.
        unfinished: an unsafe start or an error ended the check. That counts as one more bad end,
            since the adapted policy led there.
    """
    before, *_, after = collections
    bad = [before.bad_share(), after.bad_share()]
    if unfinished:
        ends = len(after.stopped)
        bad[1] = ((0.0 if ends == 0 else bad[1] * ends) + 1) / (ends + 1)
    old, *_, new = counted
    worse, margin = fell(old.returns()[~old.diverged], new.returns()[~new.diverged])
    return {
        "collection": after.describe(),
        "bad_share_before": bad[0],
        "bad_share_after": bad[1],
        "counted_return_before": float(old.task_returns()),
        "counted_return_after": float(new.task_returns()),
        "noise_margin": margin,
        "rolled_back": bad[1] > bad[0] or worse,
    }


def off_usual(
    episode_return: float, acted: Sequence[float], probes: Sequence[float], alarm: float
) -> str:
    """Sign of a return that noise does not explain; "" without, or if too few came before it.

    Args:
        episode_return: of this episode.
        acted: of the acting episodes since the last adaptation, without this one.
        probes: of the meta-policy on the robot that was adapted to.
        alarm: standard deviations.
    """
    if len(acted) < REFERENCE:
        return ""
    usual = float(np.median(acted))
    spread = 1.4826 * float(np.median(np.abs(np.array(acted) - usual)))
    spread = max(spread, SHARE_OF_GAIN * abs(usual - float(np.mean(probes))))
    off = abs(episode_return - usual) > alarm * spread
    return f"return {episode_return:.1f}, where {usual:.1f} was usual" if off else ""


def worse_than_probing(acted: Sequence[float], probes: Sequence[float]) -> str:
    """Sign of acting worse than the probes were before adapting; "" if noise explains it.

    Args:
        acted: returns of the acting episodes since the last adaptation; fewer than three
            give no sign, since one may be a stumble.
        probes: of the meta-policy, at least two.
    """
    if len(acted) < 3:
        return ""
    usual, before = float(np.median(acted)), float(np.mean(probes))
    if usual >= before - noise_margin(probes, len(acted), WORSE_LEVEL):
        return ""
    return f"return {usual:.1f}, worse than the {before:.1f} before adapting"
