"""Evaluation during training: on the same few tasks every time, keeping the best policy."""

from __future__ import annotations

import math
import time
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Generator

from metarl.adaptation.inner_loop import run_inner_loop
from metarl.evaluation.adapting import Acting
from metarl.evaluation.controls import other_tasks
from metarl.evaluation.trials import live_through, remembers
from metarl.methods.config import TrainConfig
from metarl.methods.setup import device_of, family_of, inner_loop_of, training_env
from metarl.outer.state import TrainState
from metarl.policies.base import Policy
from metarl.policies.params import Params, expand, to
from metarl.rollouts.collect import Collector
from metarl.runs.checkpoint import drop_best_after, save_best
from metarl.runs.metrics_log import read_metrics

NO_BEST = {"eval/best_return_post": -math.inf, "eval/best_iteration": 0.0}


LIVED = 1
"""Episodes of a trial before the last one that is measured."""
TRIALS = 5
"""Fewest trials of each task that a policy with a belief is measured in. It trains with one; its
choice by ten episodes would be one by chance."""


class Validation:
    """Measures a run on validation tasks, and keeps its best policy in RUN/best.

    Tasks, resets and action noise come from a copy of the run's stream `evaluation`: they are the
    same at every evaluation, and training does not depend on it. Tasks are held out, of the split
    `test`, and others than `metarl evaluate` draws, so that a policy chosen here can be reported
    there. Where training has finitely many tasks, validation tasks are these, and `chosen` in the
    metadata says so: what such a family holds out, if anything, is a benchmark's own test.
    """

    def __init__(self, run: Path, config: TrainConfig, policy: Policy, state: TrainState) -> None:
        """Continue after `state.iteration` iterations of the run."""
        self._run, self._config, self._policy = run, config, policy
        self._remembers = remembers(policy, state.params)
        stream = Generator()
        stream.set_state(state.generators.evaluation.get_state())
        family = family_of(config)
        split = "train" if family.is_finite else "test"
        self._tasks = family.sample_tasks(config.evaluation_tasks, stream, split)
        self._seeds: list[int] = torch.randint(2**62, (3,), generator=stream).tolist()
        distinct = list(dict.fromkeys(self._tasks))
        self._others = other_tasks(np.array([distinct.index(task) for task in self._tasks]))
        drop_best_after(run, state.iteration)
        lines = [line for line in read_metrics(run) if line["iteration"] <= state.iteration]
        evaluated = [line for line in lines if line.get("eval/best_return_post") is not None]
        self._best = {name: evaluated[-1][name] for name in NO_BEST} if evaluated else NO_BEST

    def after(self, state: TrainState) -> dict[str, float]:
        """Metrics of the policy after an iteration; {} where no evaluation is due."""
        every = self._config.evaluate_every
        if not every or state.iteration % every:
            return {}
        measured = self.measure(state.params)
        if measured["eval/return_post"] > self._best["eval/best_return_post"]:  # never a NaN
            self._best = {
                "eval/best_return_post": measured["eval/return_post"],
                "eval/best_iteration": float(state.iteration),
            }
            save_best(self._run, self._config, state, measured["eval/return_post"])
        return measured | self._best

    @torch.no_grad()
    def measure(self, params: Params) -> dict[str, float]:
        """Adapt as in training, then measure by the mean action, from the same initial states.

        Returns are means over the tasks, before and after adaptation and with the parameters
        adapted to another task: NaN if a task has no valid episode, or there is no other task. Of a
        policy with a belief: in the first episode of a trial, in the one after `LIVED`, and in that
        one begun with the belief of another task's trial.
        """
        began = time.perf_counter()
        collector, (_, _, starts) = self._collector, self._seeds
        policies, env_steps = (self._lived if self._remembers else self._adapted)(params)
        if self._others is not None:
            policies.append(policies[-1].of_other_tasks(self._others))
        nothing = Generator()  # no noise is drawn
        measured = [
            collector.collect(
                acting.params,
                Generator().manual_seed(starts),
                nothing,
                explore=False,
                belief=acting.belief,
            )
            for acting in policies
        ]
        pre, post, *others = (rollouts.task_returns().double() for rollouts in measured)
        other = others[0] if others else torch.full_like(post, torch.nan)
        return {
            "eval/return_pre": float(pre.mean()),
            "eval/return_post": float(post.mean()),
            "eval/return_other": float(other.mean()),
            "eval/gain": float((post - pre).mean()),
            "eval/gain_over_other": float((post - other).mean()),
            "eval/standard_error": float(post.std()) / math.sqrt(len(post))
            if len(post) > 1
            else math.nan,
            "eval/env_steps": float(env_steps + sum(r.num_steps() for r in measured)),
            "time/eval_s": time.perf_counter() - began,
        }

    def _adapted(self, params: Params) -> tuple[list[Acting], int]:
        """The policies before and after gradient steps, and the environment steps they took."""
        config, (resets, actions, _) = self._config, self._seeds
        start = to(expand(params, config.evaluation_tasks), device_of(config))
        collect_episodes = partial(
            self._collector.collect,
            resets=Generator().manual_seed(resets),
            actions=Generator().manual_seed(actions),
        )
        inner = run_inner_loop(
            self._policy,
            inner_loop_of(config, 1.0),
            start,
            config.adaptation_steps,
            collect_episodes,
            collect_last=False,
        )
        env_steps = sum(rollouts.num_steps() for rollouts in inner.rollouts)
        return [Acting(start, {}), Acting(inner.adapted, {})], env_steps

    def _lived(self, params: Params) -> tuple[list[Acting], int]:
        """The policy as trials begin and later in them, and the environment steps they took."""
        resets, actions = (Generator().manual_seed(seed) for seed in self._seeds[:2])
        lived = live_through(self._collector, params, resets, actions, (0, LIVED))
        shared = expand(params, 1)
        return [Acting(shared, lived.beliefs[n]) for n in (0, LIVED)], lived.env_steps

    @cached_property
    def _collector(self) -> Collector:
        """Worlds apart from those of training; made when first needed."""
        config = self._config
        episodes = config.episodes_per_task
        if self._remembers:
            episodes = max(episodes, TRIALS)
        env = training_env(config, config.evaluation_tasks, episodes)
        env.set_tasks(self._tasks)
        return Collector(env, self._policy)
