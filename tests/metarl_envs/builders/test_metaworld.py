"""Meta-World's ML1 and ML10 against the package itself."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import Generator

from metarl_envs import BatchEnv, InputError, Tasks, get_family, load_family, register_family
from metarl_envs.builders import metaworld as families
from metarl_envs.gym_worlds import metaworld as worlds

SEED = families.SEED


package = pytest.importorskip("metaworld", reason="needs the extra metaworld")


@pytest.fixture
def repaired(monkeypatch):
    """The package's own classes, which then can be made."""
    from metaworld.sawyer_xyz_env import SawyerMocapBase

    monkeypatch.setattr(SawyerMocapBase, "reset_mocap_welds", worlds.reset_mocap_welds)


def vectors(tasks, classes):
    """The random vectors of the package's tasks, by class, as its environments take them."""
    found = {}
    made = {name: classes[name]() for name in {task.env_name for task in tasks}}
    for task in tasks:
        made[task.env_name].set_task(task)
        vector = made[task.env_name]._last_rand_vec.tolist()
        found.setdefault(task.env_name, []).append(tuple(vector))
    return {name: tuple(rows) for name, rows in found.items()}


def points(family, split):
    (parameter,) = family.parameters
    return parameter.train.points if split == "train" else parameter.held_out.points


def test_goals_of_ml1_are_the_benchmarks_own(repaired):
    family = load_family("metaworld-ml1:push-v3")
    benchmark = package.ML1("push-v3", seed=SEED)
    assert (
        points(family, "train")
        == vectors(benchmark.train_tasks, benchmark.train_classes)["push-v3"]
    )
    assert (
        points(family, "test") == vectors(benchmark.test_tasks, benchmark.test_classes)["push-v3"]
    )
    generator = Generator().manual_seed(0)
    drawn = {
        split: {
            tuple(row) for row in family.sample_tasks(50, generator, split).values["goal"].tolist()
        }
        for split in ("train", "test")
    }
    assert drawn == {split: set(points(family, split)) for split in drawn}
    assert not drawn["train"] & drawn["test"]


@pytest.mark.slow
def test_goals_of_ml10_are_the_benchmarks_own(repaired):
    family, benchmark = load_family("metaworld-ml10"), package.ML10(seed=SEED)
    names = [*benchmark.train_classes, *benchmark.test_classes]
    for split, classes, tasks in (
        ("train", benchmark.train_classes, benchmark.train_tasks),
        ("test", benchmark.test_classes, benchmark.test_tasks),
    ):
        found = vectors(tasks, classes)
        expected = [
            (float(names.index(name)), *vector, *(0.0,) * (6 - len(vector)))
            for name in classes
            for vector in found[name]
        ]
        assert list(points(family, split)) == expected


def test_a_task_of_ml10_is_a_class_and_a_goal():
    family, generator = load_family("metaworld-ml10"), Generator().manual_seed(0)
    train, test = worlds.ml10_names()
    drawn = family.sample_tasks(20, generator, "train").values["task"][:, 0].tolist()
    assert sorted(drawn) == sorted([*range(10), *range(10)])  # as in the benchmark's meta-batches
    tested = family.sample_tasks(250, generator, "test").values["task"]
    assert len({tuple(row) for row in tested.tolist()}) == 250
    assert sorted(set(tested[:, 0].tolist())) == list(range(10, 15))
    features = family.task_features(Tasks({"task": tested}))
    assert features.shape == (250, 15 + 6)
    description = family.parameters[0].description
    assert all(f"{i} {name}" in description for i, name in enumerate(train + test))
    assert "rewards v2" in family.source and "MuJoCo 4" in family.source


def own_environment(name, vector):
    """The package's own environment of a class, its task set as its `set_task` does."""
    env = package.env_dict.ALL_V3_ENVIRONMENTS[name]()
    size = env._random_reset_space.low.size
    env._last_rand_vec, env._set_task_called = np.array(vector[:size]), True
    return env


def fields(model):
    """All arrays of a model, copied."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fields that MuJoCo will drop
        values = {name: getattr(model, name) for name in dir(model) if not name.startswith("_")}
    return {name: v.copy() for name, v in values.items() if isinstance(v, np.ndarray)}


def test_worlds_do_what_the_package_does_and_hide_the_goal(repaired):
    """In all classes of ML10, two worlds of each class taking turns on one model."""
    family, names = load_family("metaworld-ml10"), sum(worlds.ml10_names(), ())
    assert (family.observation_size, family.horizon, family.dt_s) == (39, 500, 0.0125)
    every = points(family, "train") + points(family, "test")
    chosen = [every[50 * kind + goal] for kind in range(len(names)) for goal in (7, 3)]
    env = BatchEnv(family, len(chosen), 1)
    env.set_tasks(Tasks({"task": torch.tensor(chosen, dtype=torch.float64)}))
    env.reset(Generator().manual_seed(0))
    actions = torch.rand(15, 4, generator=Generator().manual_seed(1)).double() * 2 - 1
    steps = [env.step(action.expand(len(chosen), 4)) for action in actions]
    for kind, name in enumerate(names):
        world = 2 * kind + 1
        own = own_environment(name, chosen[world][1:])
        before = fields(own.model)
        own.reset()
        written = {n for n, v in fields(own.model).items() if not np.array_equal(v, before[n])}
        assert written <= set(worlds.WRITTEN), name
        for step, action in zip(steps, actions, strict=True):
            observation, reward, _, _, info = own.step(action.numpy().astype(np.float32))
            np.testing.assert_array_equal(step.observations[world].numpy(), observation, name)
            assert step.rewards[world] == reward and step.quantity[world] == info["success"]
        other = steps[-1].observations[world - 1, :36]
        assert (other != steps[-1].observations[world, :36]).any()
    assert all((step.observations[:, 36:] == 0).all() for step in steps)


def test_a_world_of_ml10_forgets_the_class_before():
    family = load_family("metaworld-ml10")
    env, fresh = BatchEnv(family, 1, 1), BatchEnv(family, 1, 1)
    action = torch.full((1, 4), 0.5, dtype=torch.float64)

    def episode(env, number):
        task = torch.tensor([points(family, "train")[number]], dtype=torch.float64)
        env.set_tasks(Tasks({"task": task}))
        rows = [env.reset(Generator().manual_seed(0))]
        for _ in range(5):
            step = env.step(action)
            rows += [step.observations, step.rewards.unsqueeze(1)]
        return torch.cat(rows, dim=1)

    first = episode(env, 60)  # of push-v3
    other = episode(env, 170)  # of door-open-v3
    assert not torch.equal(first, other)
    again = episode(env, 61)
    assert torch.equal(again, episode(fresh, 61)) and not torch.equal(again, first)


def test_the_packages_scripted_policies_succeed_in_all_classes_of_ml10():
    """On two goals of each class: what runs here is the benchmark.

    Meta-World's own on MuJoCo 3.3 succeed in 146 of 150 episodes of all its classes.
    """
    from metaworld.policies import ENV_POLICY_MAP

    family = load_family("metaworld-ml10")
    names = sum(worlds.ml10_names(), ())
    every = points(family, "train") + points(family, "test")
    chosen = [every[50 * kind + goal] for kind in range(len(names)) for goal in (0, 1)]
    successes = []
    for row in chosen:
        name, goal = names[int(row[0])], row[1:]
        env, policy = worlds.make_one(name, goal), ENV_POLICY_MAP[name]()
        observation, _ = env.reset()
        solved = False
        for _ in range(250):
            told = np.concatenate([observation[:-3], env._target_pos])
            action = np.clip(policy.get_action(told), -1, 1)
            observation, _, _, _, info = env.step(action)
            solved = bool(info["success"])
            if solved:
                break
        successes.append((name, solved))
    assert {name for name, solved in successes if solved} == set(names)
    assert sum(solved for _, solved in successes) >= 29, successes


def test_a_goal_that_would_be_drawn_again_for_ever_is_an_error():
    env = worlds.make_one("push-v3", (0.0, 0.7, 0.02, 0.0, 0.8, 0.02))
    with pytest.raises(ValueError, match="object and goal are too close, and Meta-World would"):
        env.reset()
    env = worlds.make_one("push-v3", points(load_family("metaworld-ml1:push-v3"), "train")[0])
    for _ in range(2):
        env.reset()


def test_names_of_both_forms_are_one_family():
    family = load_family("metaworld-ml1:push-v3")
    assert family.name == "metaworld-ml1-push-v3"
    assert get_family("metaworld-ml1-push-v3") is family
    assert load_family("metaworld-ml1:push-v3") is family
    with pytest.raises(InputError, match="a shipped family has that name"):
        register_family(family)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("metaworld-ml1:psh-v3", "unknown class of metaworld-ml1 'psh-v3': did you mean push-v3"),
        ("metaworld-ml45", "unknown task family 'metaworld-ml45'.*metaworld-ml10"),
        ("metaworld-ml1", "unknown task family 'metaworld-ml1'.*metaworld-ml1:push-v3"),
        ("metaworld-", "unknown task family"),
    ],
)
def test_other_names_are_refused_with_the_nearest(name, message):
    with pytest.raises(InputError, match=message):
        load_family(name)
