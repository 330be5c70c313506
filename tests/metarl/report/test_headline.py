"""The report's headline in every case."""

from __future__ import annotations

import math

import numpy as np
import pytest

from metarl.evaluation.labels import verdict
from metarl.evaluation.method_runs import MethodPoint, MethodRuns
from metarl.evaluation.statistics import Interval
from metarl.report.headline import adapted_sentence, fixed_sentence, fraction, returns_text

NAN = math.nan
SURE = Interval(90.0, 80.0, 100.0)
UNSURE = Interval(10.0, -5.0, 25.0)
UNKNOWN = Interval(90.0, NAN, NAN)


def point(label="Meta-SGD", mean=-20.2, **changes) -> MethodPoint:
    """A method after 20 episodes on held-out tasks, with a gain that is adaptation."""
    level = Interval(mean, mean, mean)
    given = {
        "method": MethodRuns(label, ()),
        "split": "test",
        "gradient_steps": 1,
        "adaptation_episodes": 20,
        **dict.fromkeys(("mean", "iqm", "worst_fifth"), level),
        "gain": SURE,
        "other": Interval(-120.0, -121.0, -119.0),
        "gain_over_other": SURE,
        "averaged": None,
        "gain_over_averaged": None,
    }
    return MethodPoint(**given | changes)


def said(before=-110.4, gap=None, **changes) -> str:
    return adapted_sentence(point(mean=before), point(**changes), gap)


def sharing(low: float, estimate: float, high: float, **changes) -> str:
    return said(gap=SURE, closed=Interval(estimate, low, high), **changes)


CASES = {
    "share of the way": (sharing(0.65, 0.74, 0.83), "about three quarters of the way"),
    "share that is not well known": (sharing(0.31, 0.62, 0.97), "between a third and all of the"),
    "part of it by another task's adaptation": (
        sharing(0.65, 0.74, 0.83, closed_by_other=Interval(0.5, 0.4, 0.6)),
        "another task's adaptation would bring it half of that way.",
    ),
    "level with the oracle": (sharing(0.88, 0.98, 1.08), "about as well as a policy that observes"),
    "beyond the oracle": (sharing(1.02, 1.2, 1.38), "more than a policy that observes the task"),
    "level with the robust policy": (sharing(-0.1, 0.2, 0.5), "not significantly better than a"),
    "worse than the robust policy": (sharing(-0.9, -0.5, -0.1), "still worse than a policy that"),
    "no gap": (said(gap=UNSURE), "from -110 to -20. How much there was to win is unknown"),
    "no baselines": (said(), "has adapted: its return rises from -110 to -20, against -120 with"),
    "control as good": (
        said(gain_over_other=UNSURE, other=Interval(-30.0, -31, -29)),
        "returns -20, up from -110, but the gain may not be adaptation to the task: with another "
        "task's adaptation it returns -30",
    ),
    "control better": (
        said(gain_over_other=Interval(-5.0, -7.0, -3.0), other=Interval(-15.2, -16, -14)),
        "the gain is not adaptation to the task: another task's adaptation helps more, to -15",
    ),
    "no control": (said(gain_over_other=None, other=None), "there is no other task to compare"),
    "no gain": (said(gain=UNSURE), "no significant gain: its return goes from -110 to -20"),
    "no change": (said(4.01, gain=Interval(0.0, -0.1, 0.1), mean=4.02), "stays at 4.0"),
    "a loss": (
        said(10.0, gain=Interval(-90.0, -100.0, -80.0), mean=-80.0),
        "worse than before: its return falls from 10.0 to -80.0",
    ),
    "too few tasks": (said(gain=UNKNOWN, gain_over_other=UNKNOWN), "may be chance"),
    "diverged": (said(NAN, gain=Interval(NAN, NAN, NAN), mean=NAN), "Meta-SGD diverged on every"),
    "episodes": (said(adaptation_episodes=1), "After 1 episode on a task it has never met, Meta-"),
    "nothing held out": (said(split="train"), "After 20 episodes on a task it was trained on, M"),
}


@pytest.mark.parametrize(("text", "part"), CASES.values(), ids=CASES.keys())
def test_the_benefit_of_adapting_is_named_with_its_numbers(text, part):
    assert part in text and text.endswith(".")


def test_a_gain_is_called_adaptation_only_where_the_control_returns_significantly_less():
    rng = np.random.default_rng(0)
    claimed = 0
    for _ in range(2000):
        gain, over, share = (
            Interval(middle, middle - wide, middle + wide)
            for middle, wide in zip(rng.normal(0.5, 1, 3), rng.uniform(0, 1, 3), strict=True)
        )
        gap = (None, UNSURE, SURE)[rng.integers(3)]
        text = said(gain=gain, gain_over_other=over, gap=gap, closed=share if gap is SURE else None)
        claims = "has adapted" in text or "of the way" in text or "as well as" in text
        assert claims == verdict(gain, over).startswith("adaptation to the task"), text
        claimed += claims
    assert 300 < claimed < 1700


LEVELS = [point("Random", -230.2), point("Robust PPO", -95.4), point("Oracle PPO", -5.2)]


@pytest.mark.parametrize(
    ("points", "gap", "part"),
    [
        (LEVELS, SURE, "observes the task returns 90.0 more than one that never adapts"),
        (LEVELS, UNSURE, "adapting may have nothing to win"),
        (LEVELS[:2], None, "the highest return, -95.4, is that of Robust PPO"),
        (LEVELS[1:2], None, "Robust PPO does not adapt: on a task it has never met it returns -95"),
        ([point(split="train")], None, "on a task it was trained on it returns -20.2"),
        ([point(mean=NAN)], None, "Every task diverged"),
    ],
)
def test_baselines_alone_say_what_adapting_could_win(points, gap, part):
    assert part in fixed_sentence(points, gap)


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.01, "almost none"),
        (0.13, "a tenth"),
        (0.3, "a third"),
        (0.46, "half"),
        (0.63, "three fifths"),
        (0.72, "three quarters"),
        (0.94, "nine tenths"),
        (0.95, "all"),
        (1.3, "all"),
    ],
)
def test_shares_in_everyday_words(share, words):
    assert fraction(share) == words


def test_returns_have_the_digits_that_tell_them_apart():
    assert returns_text(-110.4, -20.2) == ["-110", "-20"]
    assert returns_text(3.14, -0.02) == ["3.1", "0.0"]
    assert returns_text(0.014, -0.02) == ["0.014", "-0.020"]
