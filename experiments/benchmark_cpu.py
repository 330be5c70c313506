"""Collections and meta-iteration against the physics floor, in one process.

    python -m experiments.benchmark_cpu --policy metarl/assets/half-cheetah-direction

The floor is what physics alone costs: the same engine, worlds and substeps under random controls,
with no policy, observation or reward. Random controls throw the robot about; a robot on its feet
has more contacts and costs more physics, so a second floor replays the controls of the policy.
Rounds interleave everything, and ratios are taken within a round, so that a machine whose speed
drifts still gives a fair ratio.
"""

from __future__ import annotations

import json
import resource
import statistics
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
import tyro
from torch import Generator, Tensor

from metarl.adaptation.inner_loop import InnerLoop, run_inner_loop
from metarl.methods.families import recipe
from metarl.methods.setup import inner_loop_of
from metarl.outer.meta_gradient import Iteration, OuterUpdate
from metarl.policies.base import Policy
from metarl.policies.params import Params, expand, learned, weights
from metarl.process import available_cores, prepare_process
from metarl.rollouts.collect import Collector
from metarl.rollouts.data import Rollouts
from metarl.rollouts.threads import torch_threads
from metarl.runs.checkpoint import load_policy
from metarl_envs import BatchEnv, get_family


@dataclass(frozen=True)
class Options:
    """Sizes of the measured batches, and the policy."""

    family: str = "half-cheetah-direction"
    """Task family."""
    method: str = "maml-trpo"
    """Method whose inner loop and update are timed; not one that searches by perturbations."""
    meta_batch_size: int = 40
    """M, tasks."""
    episodes_per_task: int = 20
    """E, episodes per task."""
    horizon: int = 100
    """T, steps per episode."""
    sim_threads: int = available_cores()
    """Simulator threads."""
    rounds: int = 5
    """Rounds; the median is reported."""
    policy: Path | None = None
    """Policy folder or run; a fresh policy if not given."""
    json: Path | None = None
    """Write the figures here too."""


def main(options: Options) -> None:
    """Print seconds and ratios of every round, then the medians."""
    prepare_process()  # memory is kept as `metarl train` keeps it
    family = get_family(options.family)
    env = BatchEnv(
        family,
        options.meta_batch_size,
        options.episodes_per_task,
        horizon=options.horizon,
        sim_threads=options.sim_threads,
    )
    config = recipe(options.family, options.method)
    resets, actions, tasks = (Generator().manual_seed(seed) for seed in range(3))
    if options.policy is None:
        policy = Policy.for_family(family, config.policy)
        params = policy.init(Generator().manual_seed(3))
    else:
        saved = load_policy(options.policy)
        policy, params = saved.policy, saved.params
    params = dict(params) | config.inner.init(weights(params), Generator().manual_seed(4))
    loop, outer, K = inner_loop_of(config, 0.0), config.outer, config.adaptation_steps
    assert isinstance(outer, OuterUpdate), options.method
    optimizer = outer.init(learned(params))
    start, collector = expand(params, env.num_tasks), Collector(env, policy)
    collect_episodes = partial(collector.collect, resets=resets, actions=actions)

    span = env.action_high - env.action_low
    noise = torch.rand((env.horizon, env.num_worlds, len(span)), generator=actions)
    random_controls = env.action_low + span * noise.double()

    def floor(controls: Tensor) -> float:
        """Seconds of physics alone under controls (T, N, A)."""
        began = time.perf_counter()
        with torch_threads(1):
            env.reset(resets)
            for t in range(env.horizon):
                env.begin_step(controls[t])
                env.simulate()
        return time.perf_counter() - began

    def collection(task_params: Params) -> tuple[float, Rollouts]:
        began = time.perf_counter()
        rollouts = collect_episodes(task_params)
        return time.perf_counter() - began, rollouts

    def controls_of(rollouts: Rollouts) -> Tensor:
        """(T, N, A), as the engine got them."""
        controls = policy.controls(rollouts.actions).flatten(0, 1)
        return controls.movedim(1, 0).double().contiguous()

    def meta_iteration() -> tuple[float, InnerLoop]:
        began = time.perf_counter()
        env.set_tasks(family.sample_tasks(env.num_tasks, tasks, "train"))
        inner = run_inner_loop(policy, loop, start, K, collect_episodes)
        iteration = Iteration(policy, loop.adaptation, loop.inner_loss, inner, progress=0.0)
        outer.update(params, optimizer, iteration)
        return time.perf_counter() - began, inner

    meta_iteration()  # warm-up
    rows = []
    for index in range(options.rounds):
        first = floor(random_controls)
        iteration_s, inner = meta_iteration()
        pre_s, rollouts = collection(start)
        post_s, _ = collection(inner.adapted)
        replay_s = floor(controls_of(rollouts))
        floor_s = (first + floor(random_controls)) / 2
        rows.append(
            {
                "floor_s": floor_s,
                "pre_collect_ratio": pre_s / floor_s,
                "post_collect_ratio": post_s / floor_s,
                "collect_ratio": (pre_s + post_s) / (2 * floor_s),
                "pre_collect_over_its_own_physics": pre_s / replay_s,
                "iteration_s": iteration_s,
                "update_s": iteration_s - inner.collect_s,
                "iteration_ratio": iteration_s / ((K + 1) * floor_s),
            }
        )
        print(f"round {index + 1}: " + "  ".join(f"{k} {v:.3f}" for k, v in rows[-1].items()))
    medians = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
    steps = env.num_worlds * env.horizon
    figures = medians | {
        "env_steps_per_s_whole": (K + 1) * steps / medians["iteration_s"],
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "torch_threads": torch.get_num_threads(),
    }
    print("median:  " + "  ".join(f"{key} {value:,.3f}" for key, value in figures.items()))
    if options.json is not None:
        settings = {k: str(v) for k, v in asdict(options).items()}
        options.json.write_text(json.dumps({"settings": settings, "median": figures}, indent=2))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
