"""A robot's trial in a control loop: in turn `act` and `observe`, as long as the robot works."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from metarl.deploy.limits import NO_LIMITS, Limits, check_limits
from metarl.deploy.policy import MetaPolicy
from metarl.deploy.state import TrialState, belief_to_act, finite_rows
from metarl.policies.belief import Belief
from metarl.policies.planning import PlanningPolicy
from metarl_envs import InputError


class RobotTrial:
    """A policy that drives one robot by its mean action, and learns about the robot meanwhile.

    In turn `act` and `observe`. A policy with a memory carries what it knows of the robot through
    all episodes; another robot is another `RobotTrial`. Nothing else is kept, so it may last for
    days. An error leaves it as it was: the step can be tried again.
    """

    def __init__(self, policy: MetaPolicy, *, limits: Limits = NO_LIMITS) -> None:
        """Begin a trial, from the belief that the policy was adapted to, if any.

        Args:
            policy: adapted or not.
            limits: action bounds and `unsafe`; the others are of an adaptation, and refused.

        Raises:
            InputError: for limits that do not fit the action space, or others.
        """
        check_limits(limits)
        if others := sorted(set(limits.describe()) - {"action_low", "action_high", "unsafe"}):
            raise InputError(
                f"limits.{others[0]}: is for an adaptation, and a trial only acts; leave it out"
            )
        bounded = limits.applied_to(policy.saved.policy)
        self._policy = MetaPolicy(replace(policy.saved, policy=bounded))
        self._unsafe = limits.is_unsafe
        self._state: TrialState | None = None
        self._before: Belief = {}  # before the last action
        self._action: NDArray[np.float32] | None = None
        self._steps = self._episodes = 0

    def act(self, observation: ArrayLike) -> NDArray[np.float32]:
        """The action to send: (O,) -> (A,), within all bounds.

        Raises:
            InputError: for another size, a number that is not finite, a robot that `limits.unsafe`
                calls unsafe, or if the policy reads rewards and the last one was not observed.
        """
        row = finite_rows(self._policy.saved, "observation", observation)
        if row.dim() != 1:
            raise InputError(f"observation of shape {tuple(row.shape)}: a trial is of one robot")
        if self._unsafe(row.double().numpy()):
            raise InputError("limits.unsafe: the robot is unsafe, so it gets no action")
        if self._action is not None and self._policy.reads_rewards:
            raise InputError(
                "trial.act: the outcome of the last action is missing, and this policy reads "
                "rewards: call trial.observe(reward, observation, terminated, truncated) after "
                "every action"
            )
        with torch.no_grad():
            before = belief_to_act(self._policy.saved, row.unsqueeze(0), self._state, None)
        action, state = self._policy.predict(row, TrialState(before))
        self._before, self._state, self._action = before, state, action
        self._steps += 1
        return action

    def observe(
        self,
        reward: float,
        observation: ArrayLike,
        terminated: bool = False,
        truncated: bool = False,
    ) -> None:
        """Take the outcome of the last action.

        Needed after every action if `policy.reads_rewards`; if not, only at the end of an episode,
        and the reward may be any number.

        Args:
            reward: of the action.
            observation: after it, (O,); at an episode's end its last one.
            terminated: the task itself ended the episode, such as by a fall.
            truncated: you ended it.

        Raises:
            InputError: for another size, a number that is not finite, or if there is no action to
                observe.
        """
        if self._action is None:
            raise InputError("trial.observe: no action was sent; call trial.act first")
        self._state = self._policy.observe(
            self._state, self._action, reward, observation, terminated, truncated
        )
        self._action = None
        self._episodes += bool(terminated or truncated)

    @property
    def factors(self) -> NDArray[np.float32]:
        """Factors on the actions by the last steps, (A,): how much each actuator seems to do.

        1 for an actuator that does what most did in training, and before the first step; near 0
        for a dead one, and negative for one that is wired in reverse.

        Raises:
            InputError: for a policy that does not plan with a model that takes a gradient step.
        """
        saved = self._policy.saved
        if not isinstance(saved.policy, PlanningPolicy):
            raise InputError(
                "trial.factors: this policy has no model of what actions do; train with --method "
                "grbal for one that has"
            )
        belief = self._state.belief if self._state else saved.begin(1)
        with torch.no_grad():
            return saved.policy.factors(saved.params, belief)[0].cpu().numpy()

    @property
    def policy(self) -> MetaPolicy:
        """The policy whose trials go on from here; saved, it outlives this program.

        An action whose outcome was not observed does not count.
        """
        if self._state is None:
            return self._policy
        saved, belief = self._policy.saved, self._before
        if self._action is None:
            belief = self._state.belief
        belief = {name: value[0] for name, value in belief.items()}
        report = {"trial": {"episodes": self._episodes, "steps": self._steps}}
        metadata = saved.metadata | {"adapted": (self._policy.adapted or {}) | report}
        return MetaPolicy(replace(saved, belief=belief, metadata=metadata))

    def outputs(self, steps: int) -> None:
        """None: nothing is learned from mean actions by gradients."""
