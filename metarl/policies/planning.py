"""Policies that plan with a dynamics model, which adapts to the last steps before every action.

The belief is the last steps of the episode and the plan so far. `act` adapts the model
from the meta-parameters (`metarl.policies.dynamics`), imagines what candidates of the planner lead
to (`metarl.policies.planner`), and sends the first action of the best. What a candidate pays is the
family's own reward, where observations tell it, so that a policy follows any goal that it observes,
also one that it never met; else the model predicts the reward.

An episode's end empties steps and plan: what was measured before a reset is no part of the motion
after it. Before the first update there is no model, and the mean action is the middle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Generator, Tensor

from metarl.policies.base import Policy, PolicyConfig
from metarl.policies.belief import Belief, Outcome
from metarl.policies.dynamics import GAIN, Adapts, Dynamics, Steps
from metarl.policies.gaussian import Gaussian
from metarl.policies.mlp import Activation
from metarl.policies.motion import Motion, Scale, standardised
from metarl.policies.normaliser import CLIP_OBSERVATIONS, VAR_FLOOR, Statistics
from metarl.policies.params import Params
from metarl.policies.planner import ELITES, PLANNERS, Bounds, PlannerName, planner_noise, shifted
from metarl_envs import Floating, InputError, TaskFamily, imagined_outcomes, tells_outcomes
from metarl_envs.inputs.numbers import Count, Natural, NotNegative, Positive

PAST = "past"
"""Entry of a belief, (M, E, W, 2 O + A + 2): the last steps, the newest last. Each is observation,
action as a share, observation after it, reward, and 1; or all 0 where the episode is younger."""
OBSERVED = "observed"
"""Entry of a belief, (M, E, O): observation that the policy acted on last."""
PLAN = "plan"
"""Entry of a belief, (M, E, H, A): actions as shares, that the next plan begins with."""
CHANGES = "obs_change_"
"""Start of the names of the statistics of changes and reward, each (D,) or (1,)."""


@dataclass(frozen=True)
class PlanningConfig(PolicyConfig):
    """Model and planner."""

    action_scale: Positive = 1.0
    """Policy output that means full actuator range."""
    normalize_observations: bool = True
    """Standardise observations by running statistics kept inside the policy."""
    adapts: Adapts = "gradient"
    """Effect of the last steps: a gradient step of the model's weights, a recurrent memory that it
    reads, or nothing."""
    window: Count = 16
    """Last steps that the model adapts to, >= 1."""
    inner_lr: Positive = 0.05
    """Initial rate of the gradient step, of every layer; rates are learned."""
    memory_size: Count = 64
    """Units of a recurrent model's memory."""
    networks: Count = 1
    """Networks of the ensemble, >= 1; a candidate's return is their mean."""
    hidden_sizes: tuple[Count, ...] = (128, 128)
    """Units of each hidden layer of a network."""
    activation: Activation = "relu"
    """Nonlinearity between layers."""
    reward: Literal["auto", "family", "learned"] = "auto"
    """Reward of imagined steps: the family's own function; one that the model learns; `auto`: the
    family's where observations tell it."""
    planner: PlannerName = "icem"
    """Planner: cross-entropy method (icem), or path integrals (mppi)."""
    plan_steps: Count = 20
    """H, steps that a plan looks ahead, >= 1."""
    candidates: Count = 48
    """C, plans that a round compares."""
    rounds: Count = 3
    """R, rounds of sampling per action, >= 1."""
    plan_std: Positive = 0.5
    """Deviation of the candidates of the first round, in half ranges of the action."""
    plan_color: NotNegative = 0.25
    """Smoothness of candidates: their spectral density falls with the frequency to this power."""
    temperature: Positive = 0.3
    """Of mppi: deviations of the returns in which a candidate's weight falls by e."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.candidates < ELITES:
            raise InputError(
                f"candidates = {self.candidates}: must be at least {ELITES}, the elites that the "
                "next round samples around"
            )

    def policy_type(self) -> type[Policy]:
        return PlanningPolicy


class Scales(NamedTuple):
    """Means and deviations that observations and changes are standardised by."""

    observation: Scale  # of (..., O)
    change: Scale  # of (..., D)

    def beside(self, axes: int) -> Scales:
        """The same with more axes before the last."""

        def wide(value: Tensor) -> Tensor:
            return value.reshape(*value.shape[:-1], *[1] * axes, value.shape[-1])

        return Scales(*((wide(mean), wide(std)) for mean, std in self))


@dataclass(frozen=True)
class PlanningPolicy(Policy):
    """N(first action of the best plan, std^2)."""

    config: PlanningConfig
    family: TaskFamily | None = field(default=None, repr=False, compare=False)
    """The family whose rule tells the reward of imagined steps; None: the model learns it."""
    task_size: Natural = 0
    """Entries at the end of the observation that are an observed task, which no step changes."""
    angles: tuple[int, ...] = ()
    """Entries of the observation that come round, in order."""
    floating: Floating | None = None
    """Entries of the observation that show a floating body."""

    needs_family: ClassVar[bool] = True

    @classmethod
    def of(cls, family: TaskFamily, config: PolicyConfig, **spaces: Any) -> Policy:  # noqa: ANN401
        assert isinstance(config, PlanningConfig)
        told = tells_outcomes(family)
        if config.reward == "family" and not told:
            raise InputError(
                f"policy.reward = 'family': observations of {family.name} do not tell its reward "
                "(a goal is hidden, sensors have constant errors, or the robot has no `recovered` "
                "states); use 'learned'"
            )
        own = family if told and config.reward != "learned" else None
        observed = family.observation_size - family.robot.observation_size
        robot = family.robot
        floating = robot.floating if own else None  # a learned reward may ask for the heading
        return cls(
            config,
            family=own,
            task_size=observed,
            angles=robot.angles,
            floating=floating,
            **spaces,
        )

    @property
    def motion(self) -> Motion:
        """Reading of observations, and writing of changes."""
        return Motion(self.observation_size, self.task_size, self.angles, self.floating)

    @property
    def dynamics(self) -> Dynamics:
        """The model."""
        config = self.config
        return Dynamics(
            inputs=self.motion.read_size + self.action_size,
            outputs=self.motion.change_size + (self.family is None),
            actions=self.action_size,
            networks=config.networks,
            hidden_sizes=config.hidden_sizes,
            activation=config.activation,
            adapts=config.adapts,
            memory_size=config.memory_size,
            first_rate=config.inner_lr,
        )

    @property
    def reads_rewards(self) -> bool:
        return self.family is None and self.config.adapts != "nothing"

    def init(self, generator: Generator) -> Params:
        """Xavier-uniform weights, zero biases."""
        changes = Statistics.fresh(self.dynamics.outputs)
        params = self.dynamics.init(generator) | self.initial_noise() | self.initial_statistics()
        return params | {CHANGES + name: value for name, value in changes._asdict().items()}

    def without_mean(self, params: Mapping[str, Tensor]) -> Params:
        """Parameters as before the first update, whose mean action is the middle."""
        return dict(params) | {CHANGES + "samples": torch.zeros_like(params[CHANGES + "samples"])}

    def rescaled(self, params: Mapping[str, Tensor], factor: float) -> Params:
        """Refused: a plan has no scale of its own.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"action_scale changes by a factor of {factor:g}: a policy that plans has no output "
            "layer to rescale; keep the run's policy.action_scale"
        )

    def begin(self, params: Mapping[str, Tensor], num_worlds: int) -> Belief:
        policies, empty = params["log_std"].shape[:-1], params["log_std"].new_zeros
        O, A = self.observation_size, self.action_size
        shapes = {
            PAST: (self.config.window, 2 * O + A + 2),
            OBSERVED: (O,),
            PLAN: (self.config.plan_steps, A),
        }
        return {name: empty(*policies, num_worlds, *shape) for name, shape in shapes.items()}

    def act(
        self, params: Mapping[str, Tensor], belief: Belief, observations: Tensor
    ) -> tuple[Gaussian, Belief]:
        config, plan = self.config, belief[PLAN]
        model = self.dynamics.adapted(params, self.steps_of(params, belief[PAST]))
        shape = (config.rounds, config.candidates, *plan.shape[-2:])
        noise = planner_noise(shape, config.plan_color, plan.dtype, plan.device)
        bounds = Bounds(*map(self.squashed, self.output_bounds(plan)))
        best, mean = PLANNERS[config.planner](
            plan,
            partial(self.imagined_returns, params, model, observations),
            noise,
            config.plan_std,
            bounds,
            config.temperature,
        )
        known = (params[CHANGES + "samples"] > 0).unsqueeze(-2)  # (M, 1, 1)
        output = torch.where(known, self.unsquashed(best[..., 0, :]), 0.0)
        later = belief | {OBSERVED: observations, PLAN: shifted(mean)}
        return Gaussian(output, self.log_std(params)), later

    def observe(self, params: Mapping[str, Tensor], belief: Belief, outcome: Outcome) -> Belief:
        del params
        step = [belief[OBSERVED], self.squashed(outcome.actions), outcome.observations]
        numbers = [outcome.rewards, torch.ones_like(outcome.rewards)]
        step = torch.cat([*step, torch.stack(numbers, dim=-1)], dim=-1)
        past = torch.cat([belief[PAST][..., 1:, :], step.unsqueeze(-2)], dim=-2)
        goes_on = ~(outcome.terminated | outcome.truncated)[..., None]
        return {
            PAST: past * goes_on.unsqueeze(-1),
            OBSERVED: belief[OBSERVED] * goes_on,
            PLAN: belief[PLAN] * goes_on.unsqueeze(-1),
        }

    def factors(self, params: Mapping[str, Tensor], belief: Belief) -> Tensor:
        """Factors on the actions after the last steps (`metarl.policies.dynamics.GAIN`): (M, E, A).

        1 for an actuator that does what most did in training, near 0 for a dead one, and negative
        for one that is wired in reverse.

        Raises:
            InputError: for a model that takes no gradient step.
        """
        if self.config.adapts != "gradient":
            raise InputError(
                f"policy.adapts = {self.config.adapts!r}: only a model that takes a gradient step "
                "('gradient', as with grbal) has factors on the actions"
            )
        return self.dynamics.adapted(params, self.steps_of(params, belief[PAST]))[GAIN].mean(-2)

    # The model's view of steps.

    def steps_of(self, params: Mapping[str, Tensor], past: Tensor) -> Steps:
        """Steps as the model reads them, from `PAST` (M, E, W, ...)."""
        O, A = self.observation_size, self.action_size
        observations, actions, following, ends = past.split([O, A, O, 2], dim=-1)
        return self.steps(params, observations, actions, following, ends[..., 0], ends[..., 1] > 0)

    def steps(
        self,
        params: Mapping[str, Tensor],
        observations: Tensor,
        actions: Tensor,
        following: Tensor,
        rewards: Tensor,
        valid: Tensor,
    ) -> Steps:
        """Steps as the model reads them.

        Args:
            params: (M, ...).
            observations, following: before and after, (M, E, S, O).
            actions: as shares, (M, E, S, A).
            rewards, valid: (M, E, S).
        """
        scales = self.scales(params).beside(2)
        changes = self.changes(observations, following, rewards)
        read = self.motion.read(observations, scales.observation)
        known = valid.unsqueeze(-1)  # padding is no step: it must not be large either
        return Steps(
            torch.where(known, torch.cat([read, actions], dim=-1), 0.0),
            torch.where(known, standardised(changes, scales.change), 0.0),
            valid,
        )

    def changes(self, observations: Tensor, following: Tensor, rewards: Tensor) -> Tensor:
        """Numbers that the model predicts, in their own units: (..., D)."""
        moved = self.motion.change(observations, following)
        return moved if self.family else torch.cat([moved, rewards.unsqueeze(-1)], dim=-1)

    def scales(self, params: Mapping[str, Tensor]) -> Scales:
        """Of observations and changes."""
        known = self.statistics(params)
        change = self.change_statistics(params)
        if known is None:
            like = params["log_std"].new_zeros(*params["log_std"].shape[:-1], self.observation_size)
            return Scales((like, torch.ones_like(like)), _scale(change))
        return Scales(_scale(known), _scale(change))

    def change_statistics(self, params: Mapping[str, Tensor]) -> Statistics:
        """Of changes and rewards so far."""
        return Statistics(*(params[CHANGES + name] for name in Statistics._fields))

    # What is imagined.

    def imagined_returns(
        self, params: Mapping[str, Tensor], model: Params, observations: Tensor, plans: Tensor
    ) -> Tensor:
        """Mean return of each plan over the networks: (M, E, C).

        Args:
            params: (M, ...).
            model: of every world, from `Dynamics.adapted`.
            observations: now, (M, E, O).
            plans: actions as shares, (M, E, C, H, A).
        """
        states, rewards = self.imagined(params, model, observations, plans)
        if self.family is None:
            return rewards.sum(0).mean(-2)
        before, after = states[:-1], states[1:]
        actions = plans.movedim(-2, 0).unsqueeze(-3)  # (H, M, E, 1, C, A)
        controls = self.controls(self.unsquashed(actions)).expand(*before.shape[:-1], -1)
        told = imagined_outcomes(
            self.family, *(x.reshape(-1, x.shape[-1]) for x in (before, controls, after))
        )
        paid, ended = (value.view(before.shape[:-1]) for value in told)
        alive = torch.cat([torch.zeros_like(ended[:1]), ended[:-1]]).cumsum(0) == 0
        return (paid * alive).sum(0).mean(-2)

    def imagined(
        self, params: Mapping[str, Tensor], model: Params, observations: Tensor, plans: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Observations that each network expects, and the last number that it predicts.

        Args:
            params, model, observations, plans: as of `imagined_returns`.

        Returns:
            (H + 1, M, E, B, C, O), the first of them now; and (H, M, E, B, C), which is the reward
            if that is learned.
        """
        B, C, motion = self.config.networks, plans.shape[-3], self.motion
        scales = self.scales(params).beside(3)
        (middle, spread), (drift, unit) = scales
        low, high = middle - CLIP_OBSERVATIONS * spread, middle + CLIP_OBSERVATIONS * spread
        now = observations[..., None, None, :]
        now = now.expand(*now.shape[:-3], B, C, now.shape[-1])
        states, last = [now], list[Tensor]()
        for action in plans.unsqueeze(-4).unbind(-2):  # (M, E, 1, C, A)
            shares = action.expand(*now.shape[:-1], -1)
            read = torch.cat([motion.read(states[-1], scales.observation), shares], dim=-1)
            change = drift + unit * self.dynamics.predicted(model, read)
            after = motion.after(states[-1], change[..., : motion.change_size])
            states.append(torch.maximum(torch.minimum(after, high), low))
            last.append(change[..., -1])
        return torch.stack(states), torch.stack(last)


def _scale(statistics: Statistics) -> Scale:
    """Mean and standard deviation so far."""
    return statistics.mean, (statistics.variance + VAR_FLOOR).sqrt()
