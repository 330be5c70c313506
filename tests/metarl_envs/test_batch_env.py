"""BatchEnv: tasks to worlds, masks, horizon, faults."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Generator

from metarl_envs import FAMILIES, BatchEnv, InputError, get_family

every_family = pytest.mark.parametrize("family", list(FAMILIES.values()), ids=list(FAMILIES))


def random_actions(env: BatchEnv, steps: int, seed: int = 1) -> torch.Tensor:
    shape = (steps, env.num_worlds, len(env.action_low))
    u = torch.rand(shape, generator=Generator().manual_seed(seed), dtype=torch.float64)
    return env.action_low + u * (env.action_high - env.action_low)


@every_family
def test_world_m_times_e_plus_e_runs_task_m(family, generator):
    tasks = family.sample_tasks(4, generator, "train")
    together = BatchEnv(family, 4, 5, sim_threads=2)
    together.set_tasks(tasks)
    start = together.reset(Generator().manual_seed(5))
    qpos, qvel = (together.engine.data[name].clone() for name in ("qpos", "qvel"))
    actions = random_actions(together, 20)
    steps = [together.step(action) for action in actions]
    rewards = torch.stack([step.rewards for step in steps])
    # Of 20 worlds, vectorised arithmetic has some in its lanes, and the last ones after them.
    for world in (0, 4, 5, 9, 15, 19):
        alone = BatchEnv(family, 1, 1)
        alone.set_tasks(tasks[world // 5])
        alone.engine.reset(None, qpos[[world]], qvel[[world]])
        assert torch.equal(alone.observation()[0], start[world])
        for t, action in enumerate(actions):
            step = alone.step(action[[world]])
            assert torch.equal(step.observations[0], steps[t].observations[world])
            assert torch.equal(step.rewards[0], rewards[t, world])


@every_family
def test_same_seed_same_bits_for_one_and_two_threads(family, generator):
    tasks = family.sample_tasks(2, generator, "train")
    results = []
    for threads in (1, 2):
        env = BatchEnv(family, 2, 3, sim_threads=threads)
        env.set_tasks(tasks)
        env.reset(Generator().manual_seed(3))
        steps = [env.step(action) for action in random_actions(env, 10)]
        results.append([torch.stack([s.observations for s in steps]), steps[-1].rewards])
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


def test_reset_noise_does_not_depend_on_the_mask():
    env = BatchEnv(get_family("half-cheetah-direction"), 2, 2)
    everywhere = env.reset(Generator().manual_seed(4)).clone()
    mask = torch.tensor([False, True, False, True])
    env.reset(Generator().manual_seed(8))
    some = env.reset(Generator().manual_seed(4), mask)
    assert torch.equal(some[mask], everywhere[mask])
    assert not torch.equal(some[~mask], everywhere[~mask])


def test_horizon_truncates_each_world_by_its_own_clock(generator):
    env = BatchEnv(get_family("half-cheetah-direction"), 1, 2, horizon=3)
    env.reset(generator)
    actions = random_actions(env, 5)
    assert [env.step(a).truncated.tolist() for a in actions[:2]] == [[False] * 2] * 2
    only_first = torch.tensor([True, False])
    assert env.step(actions[2], only_first).truncated.tolist() == [True, False]
    env.reset(generator, only_first)
    assert env.step(actions[3]).truncated.tolist() == [False, True]


def test_horizon_is_the_familys_unless_given(generator):
    assert BatchEnv(get_family("half-cheetah-direction"), 1, 1).horizon == 100
    assert BatchEnv(get_family("ant-goal"), 1, 1).horizon == 200


def test_masked_worlds_keep_their_observation(generator):
    env = BatchEnv(get_family("ant-direction"), 1, 3)
    env.reset(generator)
    first = env.step(random_actions(env, 1)[0]).observations.clone()
    mask = torch.tensor([True, False, True])
    second = env.step(random_actions(env, 1, seed=2)[0], mask).observations
    assert torch.equal(second[1], first[1])
    assert not torch.equal(second[0], first[0])


@every_family
@pytest.mark.parametrize("kind", ["state", "action"])
def test_a_diverged_world_is_flagged_zeroed_and_alone(family, kind, generator):
    env, sound = BatchEnv(family, 1, 3), BatchEnv(family, 1, 3)
    for each in (env, sound):
        each.reset(Generator().manual_seed(2))
    actions = random_actions(env, 3)
    poisoned = actions.clone()
    if kind == "action":
        poisoned[0, 1] = torch.nan
    else:
        env.engine.data["qpos"][1, -1] = torch.nan
    for action, good in zip(poisoned, actions, strict=True):
        step, reference = env.step(action), sound.step(good)
        assert step.diverged.tolist() == [False, True, False]
        assert not step.terminated[1]
        assert step.rewards[1] == 0
        assert (step.observations[1] == 0).all()
        for world in (0, 2):
            assert torch.equal(step.observations[world], reference.observations[world])
            assert torch.equal(step.rewards[world], reference.rewards[world])
    env.reset(generator, torch.tensor([False, True, False]))
    assert not env.step(actions[0]).diverged.any()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_reward_that_is_not_finite_is_a_fault(value, generator):
    def reward(transition):
        return torch.tensor([1.0, value], dtype=torch.float64)

    env = BatchEnv(dataclasses.replace(get_family("navigation"), reward=reward), 1, 2)
    env.reset(generator)
    step = env.step(random_actions(env, 1)[0])
    assert step.diverged.tolist() == [False, True]
    assert step.rewards.tolist() == [1.0, 0.0]


def test_velocity_of_the_ant_survives_save_and_restore(generator):
    """Its reward compares lagged positions, which the state rows alone do not hold."""
    env = BatchEnv(get_family("ant-crippled"), 1, 2)
    env.reset(generator)
    actions = random_actions(env, 8)
    for action in actions[:4]:
        env.step(action)
    saved = env.engine.state()
    expected = env.step(actions[4]).rewards.clone()
    env.engine.set_state(saved)
    assert torch.equal(env.step(actions[4]).rewards, expected)


def test_transition_before_is_a_copy_and_action_is_what_was_given(generator):
    env = BatchEnv(get_family("half-cheetah-direction"), 1, 2)
    env.reset(generator)
    action = 3 * random_actions(env, 1)[0]  # beyond the control range: the reward sees it raw
    x = env.engine.data["qpos"].clone()
    step = env.step(action)
    assert torch.equal(step.transition.before["qpos"], x)
    assert torch.equal(step.transition.action, action)


def test_what_a_step_tells_stays_as_it_was_where_functions_return_parts_of_the_state(generator):
    family = get_family("half-cheetah-direction")
    robot = dataclasses.replace(
        family.robot,
        observation=lambda state: state["qpos"],
        observation_size=9,
        quantities={"x_m": lambda t: t.after["qpos"][:, 0]},
    )
    views = dataclasses.replace(
        family, robot=robot, reward=lambda t: t.after["qpos"][:, 0], quantity="x_m"
    )
    env = BatchEnv(views, 1, 2)
    first = env.reset(generator)
    start = env.engine.data["qpos"].clone()
    step = env.step(random_actions(env, 1)[0])
    x = env.engine.data["qpos"].clone()
    env.step(random_actions(env, 1, seed=2)[0])
    assert torch.equal(first, start) and torch.equal(step.observations, x)
    assert torch.equal(step.rewards, x[:, 0]) and torch.equal(step.quantity, x[:, 0])
    assert not torch.equal(env.engine.data["qpos"], x)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"num_tasks": 0}, "num_tasks = 0: must be at least 1"),
        ({"episodes_per_task": -2}, "episodes_per_task = -2: must be at least 1"),
        ({"horizon": 0}, "horizon = 0: must be at least 1"),
        ({"sim_threads": 0}, "sim_threads = 0: must be at least 1"),
        ({"horizon": 2**70}, f"horizon = {2**70}: must be at most {2**63 - 1}"),
        ({"sim_threads": 2**40}, f"sim_threads = {2**40}: must be at most {2**31 - 1}"),
        ({"num_tasks": 2**40}, f"num_tasks . episodes_per_task = {2**40}: must be at most"),
    ],
)
def test_impossible_sizes_name_field_and_bound(sizes, message):
    arguments = {"num_tasks": 1, "episodes_per_task": 1, **sizes}
    with pytest.raises(InputError, match=message):
        BatchEnv(get_family("ant-goal"), **arguments)


@pytest.mark.parametrize("shape", [(2, 5), (1, 6), (6,), (3, 6), ()])
def test_actions_of_another_shape_are_refused_before_anything_moves(shape, generator):
    env = BatchEnv(get_family("half-cheetah-velocity"), 2, 1)
    before = env.reset(generator).clone()
    for act in (env.step, env.advance):
        with pytest.raises(InputError, match=r"actions have shape .*: must be \(2, 6\), a row"):
            act(torch.zeros(shape))
    assert torch.equal(env.observation(), before)


@pytest.mark.parametrize("mask", [[True], [0, 1], torch.tensor([0, 1]), "ab"])
def test_a_mask_says_of_each_world_whether(mask, generator):
    env = BatchEnv(get_family("half-cheetah-velocity"), 2, 1)
    before = env.reset(generator).clone()
    for call in (lambda: env.step(torch.ones(2, 6), mask), lambda: env.reset(generator, mask)):
        with pytest.raises(InputError, match=r"mask = .*: must be True or False for each of 2 wo"):
            call()
    env.step(torch.ones(2, 6), [False, True])
    moved = (env.observation() != before).any(dim=1)
    assert moved.tolist() == [False, True]


def test_what_is_no_family_is_refused():
    with pytest.raises(InputError, match="family = 'ant-goal': must be a TaskFamily"):
        BatchEnv("ant-goal", 1, 1)


def test_wrong_number_of_tasks_and_range_are_refused(generator):
    env = BatchEnv(get_family("half-cheetah-velocity"), 2, 1)
    with pytest.raises(InputError, match="3 tasks given, this environment runs 2"):
        env.set_tasks(env.family.sample_tasks(3, generator, "train"))
    kept = env.tasks
    wrong = type(kept)({"velocity": torch.tensor([1.0, 50.0])})
    with pytest.raises(InputError, match="velocity = 50"):
        env.set_tasks(wrong)
    assert env.tasks == kept


@pytest.mark.parametrize("name", ["half-cheetah-dynamics", "ant-crippled"])
def test_an_observed_task_ends_every_observation_and_changes_nothing_else(name):
    family = get_family(name)
    tasks = family.sample_tasks(3, torch.Generator().manual_seed(2), "train")
    features = family.task_features(tasks).repeat_interleave(2, dim=0)
    oracle = dataclasses.replace(family, observes_task=True)
    assert oracle.observation_size == family.observation_size + features.shape[1]
    envs = [BatchEnv(f, 3, 2, horizon=5) for f in (family, oracle)]
    seen = []
    for env in envs:
        env.set_tasks(tasks)
        observation = env.reset(torch.Generator().manual_seed(0))
        step = env.step(torch.full((6, len(family.action_bounds()[0])), 0.3, dtype=torch.float64))
        seen.append((observation, step.observations, step.rewards))
    for plain, more in zip(seen[0][:2], seen[1][:2], strict=True):
        assert torch.equal(more, torch.cat([plain, features], dim=1))
    assert torch.equal(seen[0][2], seen[1][2])


def test_a_part_of_a_batch_starts_as_the_whole_does():
    family, worlds = get_family("half-cheetah-direction"), torch.tensor([1, 4])
    whole, part = BatchEnv(family, 6, 1), BatchEnv(family, 2, 1)
    streams = [Generator().manual_seed(7) for _ in range(2)]
    for _ in range(2):
        everywhere = whole.reset(streams[0])
        assert torch.equal(part.reset_part(streams[1], 6, worlds), everywhere[worlds])
