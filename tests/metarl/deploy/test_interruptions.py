"""An adaptation that is cut short keeps the episodes before."""

import math

import pytest
from support.helpers import largest_difference
from support.point_robot import Failing
from support.tiny import tiny_policy

from metarl import Limits
from metarl.adaptation import inner_loop
from metarl.adaptation.base import adapt
from metarl.adaptation.losses import inner_batches
from metarl.deploy import (
    AdaptationCancelled,
    AdaptationExit,
    AdaptationInterruptedError,
    MetaPolicy,
)
from metarl.deploy.gradient_step import RobotSteps
from metarl.methods.setup import inner_loop_of
from metarl.policies.params import expand
from metarl_envs import InputError

UNCAPPED = Limits(max_step_kl=math.inf)


@pytest.mark.parametrize("where", ["reset", "step"])
@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ConnectionError("no answer from the arm"), AdaptationInterruptedError),
        (KeyboardInterrupt(), AdaptationCancelled),
    ],
)
def test_what_was_gathered_before_an_error_is_adapted_from(error, raised, where):
    policy = MetaPolicy(tiny_policy("navigation", horizon=6))
    with pytest.raises(raised) as cut:
        policy.adapt(Failing(error, 5, where), episodes=5, seed=3, limits=UNCAPPED)
    cause = cut.value.__cause__
    assert cause is error or cause.__cause__ is error
    adapted = cut.value.policy
    assert adapted.adapted["collections"][0]["episodes"] == 4
    kind = "" if isinstance(cause, InputError) else f"{type(cause).__name__}: "
    assert adapted.adapted["interrupted"] == f"{kind}{cause}"
    assert "adapted from the 4 episodes before" in str(cut.value)
    # It is the step that the four make: the noise of five is drawn, so not that of four drawn.
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        made = inner_loop.policy_batch
        patch.setattr(inner_loop, "policy_batch", lambda r, *how: seen.append(r) or made(r, *how))
        whole = policy.adapt(Failing(error, 99), episodes=5, seed=3, limits=UNCAPPED)
    batch = made(seen[0].some_episodes(slice(4)), 0.99, policy.saved.config.gae_lambda)
    how, start = inner_loop_of(policy.saved.config, 1.0), expand(policy.saved.params, 1)
    steps = inner_batches(policy.saved.policy, [batch], how.inner_loss)
    expected = {name: v[0].detach() for name, v in adapt(how.adaptation, start, steps).items()}
    assert largest_difference(expected, adapted.saved.params) <= 1e-6
    assert largest_difference(whole.saved.params, adapted.saved.params) > 1e-6


def test_sys_exit_keeps_its_code_and_other_ends_their_type():
    policy = MetaPolicy(tiny_policy("navigation", horizon=6))
    with pytest.raises(AdaptationExit) as cut:
        policy.adapt(Failing(SystemExit(3), 3), episodes=5, limits=UNCAPPED)
    assert cut.value.code == 3
    assert len(cut.value.policy.episodes) == 2
    error = GeneratorExit()
    with pytest.raises(GeneratorExit) as other:
        policy.adapt(Failing(error, 3), episodes=5, limits=UNCAPPED)
    assert other.value is error


@pytest.mark.parametrize("kind", [ConnectionError, KeyboardInterrupt, SystemExit])
def test_what_a_callback_raises_keeps_what_was_gathered(kind):
    records = []

    def fail(record):
        records.append(record)
        if len(records) == 3:
            raise kind

    policy = MetaPolicy(tiny_policy("navigation", horizon=6))
    with pytest.raises((AdaptationInterruptedError, AdaptationCancelled, AdaptationExit)) as cut:
        policy.adapt(Failing(None, 99), episodes=3, steps=2, limits=UNCAPPED, on_episode=fail)
    assert type(cut.value.__cause__) is kind
    adapted = cut.value.policy  # the third was the last of the first step, which was made
    assert adapted.adapted["limits"]["steps_taken"] == 1
    assert [e.returned for e in adapted.episodes] == [r.returned for r in records]
    assert largest_difference(adapted.saved.params, policy.saved.params) > 1e-4


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
def test_an_error_in_the_middle_of_a_step_keeps_its_episodes(error, monkeypatch):
    policy = MetaPolicy(tiny_policy("navigation", horizon=6))
    step = RobotSteps.step

    def failing(inner, params, rollouts, k):
        if k == 1:
            raise error
        return step(inner, params, rollouts, k)

    monkeypatch.setattr(RobotSteps, "step", failing)
    with pytest.raises((AdaptationInterruptedError, AdaptationCancelled)) as cut:
        policy.adapt(Failing(None, 99), episodes=2, steps=2, limits=UNCAPPED)
    assert cut.value.__cause__ is error
    assert len(cut.value.policy.episodes) == 4
    assert cut.value.policy.adapted["limits"]["steps_taken"] == 1


def test_what_a_callback_raises_after_the_check_is_no_bad_end_of_the_robot():
    def fail(record):
        if record.check and record.number == record.of:
            raise ConnectionError("the log is full")

    policy = MetaPolicy(tiny_policy("navigation", horizon=6))
    limits = Limits(check_episodes=2, max_step_kl=math.inf)
    expected = policy.adapt(Failing(None, 99), episodes=3, limits=limits).adapted["limits"]
    with pytest.raises(AdaptationInterruptedError) as cut:
        policy.adapt(Failing(None, 99), episodes=3, limits=limits, on_episode=fail)
    assert cut.value.policy.adapted["limits"] == expected
    assert expected["check"]["bad_share_after"] == 0


def test_an_error_before_any_whole_episode_names_the_environment():
    error = ConnectionError("no answer")
    message = r"Navigation-v0: step 2 failed: ConnectionError: no answer \(point_robot.py, line \d+"
    with pytest.raises(InputError, match=message) as cut:
        MetaPolicy(tiny_policy("navigation")).adapt(Failing(error, 1), episodes=3)
    assert cut.value.__cause__ is error
    assert "\n" not in str(cut.value)


def test_an_error_after_the_first_step_keeps_that_step():
    policy = MetaPolicy(tiny_policy("navigation", horizon=6))
    with pytest.raises(AdaptationInterruptedError) as cut:
        policy.adapt(Failing(OSError("gone"), 3), episodes=2, steps=2, seed=3)
    once = policy.adapt(Failing(OSError("gone"), 9), episodes=2, steps=1, seed=3)
    assert cut.value.policy.adapted["limits"]["steps_taken"] == 1
    assert largest_difference(cut.value.policy.saved.params, once.saved.params) == 0


def test_an_unsafe_start_in_mid_adaptation_keeps_the_episodes():
    policy, resets = MetaPolicy(tiny_policy("navigation", horizon=6)), []

    class Counting(Failing):
        def reset(self, **how):
            resets.append(how)
            return super().reset(**how)

    def unsafe(observation):
        return len(resets) == 4

    with pytest.warns(UserWarning, match=r"UnsafeStartError.*from the 3 episodes before$"):
        adapted = policy.adapt(Counting(None, 99), episodes=5, limits=Limits(unsafe=unsafe))
    assert adapted.adapted["collections"][0]["episodes"] == 3
    assert adapted.adapted["limits"]["steps_taken"] == 1
    assert largest_difference(adapted.saved.params, policy.saved.params) > 1e-4
    resets.clear()
    with pytest.warns(UserWarning, match="and not checked"):
        policy.adapt(Counting(None, 99), episodes=5, limits=Limits(unsafe=unsafe, check_episodes=2))


def test_an_unsafe_start_in_the_check_takes_the_step_back():
    policy = MetaPolicy(tiny_policy("navigation", horizon=6))
    env = Failing(None, 99)
    limits = Limits(unsafe=lambda o: env.resets == 4, check_episodes=2)
    with pytest.warns(UserWarning, match="unsafe before its first step"):
        adapted = policy.adapt(env, episodes=3, limits=limits)
    check = adapted.adapted["limits"]["check"]
    assert (check["bad_share_before"], check["bad_share_after"]) == (0.0, 1.0)
    assert check["rolled_back"]
    assert largest_difference(adapted.saved.params, policy.saved.params) == 0
