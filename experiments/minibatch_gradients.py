"""Minibatches with and without the control variate of `metarl.outer.minibatches`.

    python -m experiments.minibatch_gradients

Prints, for the first iteration of ProMP, how far adapted policies of each minibatch are from those
that collected, and the cosine of the minibatches' mean gradient with the gradient on all episodes.
"""

from __future__ import annotations

import dataclasses

import torch

from metarl.methods.families import recipe
from metarl.methods.setup import family_of, learner_of
from metarl.outer import minibatches as module
from metarl.outer.clipped_steps import differentiate, measure
from metarl.outer.meta_gradient import Iteration
from metarl.outer.promp import ProMp
from metarl.policies.params import flatten
from metarl.rollouts.collect import Collector
from metarl_envs import BatchEnv


def main() -> None:
    """Two lines for each family."""
    for family in ("navigation", "half-cheetah-direction", "half-cheetah-payload-velocity"):
        config = dataclasses.replace(recipe(family, "promp"), device="cpu")
        assert isinstance(config.outer, ProMp)
        learner, M = learner_of(config), config.meta_batch_size
        state = learner.init(seed=0)
        env = BatchEnv(family_of(config), M, config.episodes_per_task, horizon=config.horizon)
        tasks = family_of(config).sample_tasks(M, state.generators.tasks, "train")
        collected = learner.collect(Collector(env, learner.policy), state, tasks)
        iteration = Iteration(learner.policy, config.inner, config.inner_loss, collected, 0.0)
        loss, plus_linear = config.outer.loss, module.plus_linear
        (everything,) = module.minibatches(iteration, 1)
        whole = flatten(differentiate(loss, state.params, iteration, everything)[1])
        for name, correction in (("with", plus_linear), ("without", lambda step, slope: step)):
            module.plus_linear = correction
            parts = module.minibatches(iteration, config.outer.minibatches)
            module.plus_linear = plus_linear
            kls = [float(measure(loss, state.params, iteration, part)[1]) for part in parts]
            gradients = [differentiate(loss, state.params, iteration, part)[1] for part in parts]
            mean = torch.stack([flatten(gradient) for gradient in gradients]).mean(0)
            cosine = float(torch.cosine_similarity(mean, whole, dim=0))
            print(f"{family}, {name}: KL {min(kls):.2g} to {max(kls):.2g}, cosine {cosine:.3f}")


if __name__ == "__main__":
    main()
