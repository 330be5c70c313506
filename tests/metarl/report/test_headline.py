"""The first sentence of a report, word by word, for every case."""

from __future__ import annotations

import math

import numpy as np
import pytest

from metarl.evaluation.labels import verdict
from metarl.evaluation.statistics import Interval
from metarl.report.headline import (
    Level,
    Outcome,
    adapted_sentence,
    fixed_sentence,
    fraction,
    returns_text,
)

NAN = math.nan
WHEN = "After 20 episodes on a task it has never met, Meta-SGD"
SURE = Interval(90.0, 80.0, 100.0)
UNSURE = Interval(10.0, -5.0, 25.0)
UNKNOWN = Interval(90.0, NAN, NAN)
WAY = "of the way from a policy that never adapts to one that observes the task"


def outcome(gain=SURE, over=SURE, other: float | None = -120.0, **changes) -> Outcome:
    """Meta-SGD, from -110 to -20 after 20 episodes; without baselines."""
    given = {
        "method": "Meta-SGD",
        "episodes": 20,
        "before": -110.4,
        "after": -20.2,
        "gain": gain,
        "other": other,
        "gain_over_other": over,
        "gap": None,
        "share": None,
    }
    return Outcome(**given | changes)


def sharing(low: float, estimate: float, high: float, **changes) -> Outcome:
    return outcome(gap=SURE, share=Interval(estimate, low, high), **changes)


CASES = {
    "a share of the way": (
        sharing(0.65, 0.74, 0.83),
        f"{WHEN} has come about three quarters {WAY}.",
    ),
    "a share that is not well known": (
        sharing(0.31, 0.62, 0.97),
        f"{WHEN} has come between a third and all {WAY}.",
    ),
    "of which another task's adaptation brings a part": (
        sharing(0.65, 0.74, 0.83, share_of_other=Interval(0.5, 0.4, 0.6)),
        f"{WHEN} has come about three quarters "
        f"{WAY}; another task's adaptation would bring it half of that way.",
    ),
    "level with the oracle": (
        sharing(0.88, 0.98, 1.08, episodes=5),
        "After 5 episodes on a task it has never met, Meta-SGD does about as well as a policy that "
        "observes the task.",
    ),
    "beyond the oracle": (
        sharing(1.02, 1.2, 1.38),
        f"{WHEN} has adapted, and returns more than a policy that observes the task.",
    ),
    "not shown to beat the robust policy": (
        sharing(-0.1, 0.2, 0.5),
        f"{WHEN} has adapted, but is not shown to be better than a policy that never adapts.",
    ),
    "worse than the robust policy": (
        sharing(-0.9, -0.5, -0.1),
        f"{WHEN} has adapted, and is still worse than a policy that never adapts.",
    ),
    "no gap for sure": (
        outcome(gap=UNSURE),
        f"{WHEN} has adapted: its return rises from "
        "-110 to -20; a policy that observes the task is not shown to return more than one that "
        "never adapts, so how much there was to win is not known.",
    ),
    "no baselines": (
        outcome(episodes=1),
        "After 1 episode on a task it has never met, Meta-SGD has adapted: its return rises from "
        "-110 to -20, and with another task's adaptation it would be -120.",
    ),
    "nothing held out": (
        outcome(held_out=False),
        "After 20 episodes on a task it was trained on, Meta-SGD has adapted: its return rises "
        "from -110 to -20, and with another task's adaptation it would be -120.",
    ),
    "another task's adaptation may help as much": (
        outcome(over=UNSURE, other=-30.0),
        f"{WHEN} returns -20, up from -110, but what "
        "it gains is not shown to be adaptation: another task's adaptation may help as much (it "
        "brings -30).",
    ),
    "another task's adaptation helps more": (
        outcome(over=Interval(-5.0, -7.0, -3.0), other=-15.2),
        f"{WHEN} returns -20, up from -110, but what "
        "it gains is not adaptation: another task's adaptation helps more, to -15.",
    ),
    "no other task": (
        outcome(over=None, other=None),
        f"{WHEN} returns -20, up from -110; whether "
        "it found out about its task cannot be told, as there is no other task to compare with.",
    ),
    "no gain": (
        outcome(gain=UNSURE),
        f"{WHEN} is not shown to gain: its return goes from -110 to -20, which may be chance.",
    ),
    "no change": (
        outcome(gain=Interval(0.0, -0.1, 0.1), before=4.01, after=4.02),
        f"{WHEN} shows no gain: its return stays at 4.0.",
    ),
    "a loss": (
        outcome(gain=Interval(-90.0, -100.0, -80.0), before=10.0, after=-80.0),
        f"{WHEN} is worse than before: its return falls from 10.0 to -80.0.",
    ),
    "too few tasks": (
        outcome(gain=UNKNOWN, over=UNKNOWN),
        f"{WHEN} returns -20, and -110 before; with "
        "so few tasks nobody can say whether that is chance.",
    ),
    "diverged": (
        outcome(gain=Interval(NAN, NAN, NAN), before=NAN, after=NAN),
        "Meta-SGD diverged on every task, so nothing can be said of it.",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_method_that_adapts_is_worth(case):
    given, said = CASES[case]
    assert adapted_sentence(given) == said


def test_a_gain_is_called_adaptation_only_where_the_control_returns_less_for_sure():
    rng = np.random.default_rng(0)
    claimed = 0
    for _ in range(2000):
        gain, over, share = (
            Interval(middle, middle - wide, middle + wide)
            for middle, wide in zip(rng.normal(0.5, 1, 3), rng.uniform(0, 1, 3), strict=True)
        )
        gap = (None, UNSURE, SURE)[rng.integers(3)]
        given = outcome(gain, over, gap=gap, share=share if gap is SURE else None)
        text = adapted_sentence(given)
        claims = "has adapted" in text or "of the way" in text or "as well as" in text
        assert claims == verdict(gain, over).startswith("adaptation to the task"), text
        claimed += claims
    assert 300 < claimed < 1700


LEVELS = [Level("Random", -230.2), Level("Robust PPO", -95.4), Level("Oracle PPO", -5.2)]


@pytest.mark.parametrize(
    ("levels", "gap", "held_out", "said"),
    [
        (
            LEVELS,
            SURE,
            True,
            "None of these methods adapts: on tasks they have never met, a policy that observes "
            "the task returns 90.0 more than one that never adapts, and that is what adapting "
            "could win.",
        ),
        (
            LEVELS,
            UNSURE,
            False,
            "None of these methods adapts, and adapting may have nothing to win: on tasks they "
            "were trained on, a policy that observes the task is not shown to return more than one "
            "that never adapts.",
        ),
        (
            LEVELS[:2],
            None,
            True,
            "None of these methods adapts; the highest return, -95.4, is that of Robust PPO.",
        ),
        (
            LEVELS[1:2],
            None,
            True,
            "Robust PPO does not adapt: on tasks it has never met it returns -95.4.",
        ),
        (
            [Level("Robust PPO", NAN)],
            None,
            True,
            "Every task diverged in some run, so nothing can be said.",
        ),
    ],
)
def test_what_baselines_alone_say(levels, gap, held_out, said):
    assert fixed_sentence(levels, gap, held_out=held_out) == said


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
