"""Signs in the returns of acting that a robot has changed, or that adapting did not pay."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metarl.deploy.check import noise_margin

REFERENCE = 5
"""Acting episodes from which a deviation of the next one can be seen."""
SHARE_OF_GAIN = 0.05
"""Least standard deviation of returns that counts, as a share of the adaptation's gain: where
returns repeat exactly, not every difference is a change."""
WORSE_LEVEL = 0.01
"""False alarms of a single comparison of acting with probing, of which there is one an episode."""


def off_usual(
    returned: float, acted: Sequence[float], probes: Sequence[float], alarm: float
) -> str:
    """Sign of a return that noise does not explain; "" without, or if too few came before it.

    Args:
        returned: of this episode.
        acted: of the acting episodes since the last adaptation, without this one.
        probes: of the meta-policy on the robot that was adapted to.
        alarm: standard deviations.
    """
    if len(acted) < REFERENCE:
        return ""
    usual = float(np.median(acted))
    spread = 1.4826 * float(np.median(np.abs(np.array(acted) - usual)))
    spread = max(spread, SHARE_OF_GAIN * abs(usual - float(np.mean(probes))))
    off = abs(returned - usual) > alarm * spread
    return f"return {returned:.1f}, where {usual:.1f} was usual" if off else ""


def worse_than_probing(acted: Sequence[float], probes: Sequence[float]) -> str:
    """Sign of acting worse than the probes were before adapting; "" if noise explains it.

    Args:
        acted: returns of the acting episodes since the last adaptation; of fewer than three nothing
            is said, since one may be a stumble.
        probes: of the meta-policy, at least two.
    """
    if len(acted) < 3:
        return ""
    usual, before = float(np.median(acted)), float(np.mean(probes))
    if usual >= before - noise_margin(probes, len(acted), WORSE_LEVEL):
        return ""
    return f"return {usual:.1f}, worse than the {before:.1f} before adapting"
