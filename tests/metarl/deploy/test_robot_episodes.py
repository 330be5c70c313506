"""Episodes as data: whatever type they have, read once; whatever is wrong, in one line."""

import numpy as np
import pytest
import torch
from support.tiny import tiny_policy

import metarl
from metarl import Episode
from metarl.deploy.episodes import EpisodeRecord, read_episodes
from metarl.errors import RunError
from metarl_envs import InputError

POLICY = tiny_policy("navigation").policy  # two observations, two actions from -0.1 to 0.1


def logged(steps=3, **changes):
    given = {
        "observations": np.arange(2.0 * (steps + 1)).reshape(-1, 2),
        "actions": np.full((steps, 2), 0.05),
        "rewards": np.arange(1.0, steps + 1),
    }
    return {name: value for name, value in (given | changes).items() if value is not None}


FORMS = {
    "arrays": lambda x: x,
    "float32": lambda x: x.astype(np.float32),
    "lists": lambda x: x.tolist(),
    "tensors": torch.tensor,
    "rows": list,
}


@pytest.mark.parametrize("form", FORMS)
def test_arrays_of_any_type_are_the_same_episode(form):
    given = {name: FORMS[form](value) for name, value in logged().items()}
    (one,) = read_episodes([given], POLICY)
    np.testing.assert_array_equal(one.observations, logged()["observations"])
    np.testing.assert_allclose(one.actions, 0.05, rtol=1e-7)
    np.testing.assert_array_equal(one.rewards, [1, 2, 3])
    assert one.rewards.dtype == one.observations.dtype == np.float64
    assert (one.returned, one.steps, one.ended) == (6.0, 3, "truncated")


def test_the_last_observation_may_stand_apart():
    whole = Episode.read(logged())
    apart = Episode.read(
        logged(observations=whole.observations[:-1], final_observation=whole.observations[-1])
    )
    np.testing.assert_array_equal(apart.observations, whole.observations)


@pytest.mark.parametrize("flag", [True, np.True_, 1, 1.0, torch.tensor(True), [0, 0, 1]])
def test_flags_are_one_truth_value_or_one_per_step(flag):
    one = Episode.read(logged(terminated=flag))
    assert one.terminated is True
    assert one.ended == "terminated"


WRONG = {
    "rewards: missing": {"rewards": None},
    r"rewards of shape \(3, 1\): must be \(T,\)": {"rewards": np.ones((3, 1))},
    r"rewards\[1\] = nan: must be finite": {"rewards": [1.0, np.nan, 2.0]},
    r"observations\[2, 1\] = inf: must be finite": {
        "observations": [[0, 0], [0, 0], [0, np.inf], [0, 0]]
    },
    r"observations of shape \(3, 2\), with 3 rewards: must be \(T \+ 1, O\).* so 4 rows, or give "
    "final_observation": {"observations": np.zeros((3, 2))},
    r"observations of shape \(4, 3\): the policy has 2": {"observations": np.zeros((4, 3))},
    r"actions of shape \(2, 2\), with 3 rewards": {"actions": np.zeros((2, 2))},
    r"actions of shape \(3, 1\): the policy has 2": {"actions": np.zeros((3, 1))},
    r"actions\[0, 0\] = 0.5: the action space is -0.1 to 0.1": {"actions": np.full((3, 2), 0.5)},
    r"actions = 'left'": {"actions": "left"},
    r"final_observation of shape \(3,\): must be \(2,\)": {"final_observation": np.zeros(3)},
    r"terminated\[0\] is true, but 2 steps follow": {"terminated": [True, False, False]},
    r"terminated = 'yes'": {"terminated": "yes"},
    r"terminated = 2": {"terminated": 2},
    r"terminated = \[\[True\], \[True, False\]\]": {"terminated": [[True], [True, False]]},
    r"diverged = array\(\[\[1., 1.\]": {"diverged": np.ones((3, 2))},
    r"stopped = True: must be words": {"stopped": True},
    r"unknown field of an episode 'reward': did you mean rewards": {"reward": [1]},
    r"rewards: are empty": {
        "rewards": [], "actions": np.zeros((0, 2)), "observations": np.zeros((1, 2)),
    },
}  # fmt: skip


@pytest.mark.parametrize("line", WRONG)
def test_what_is_wrong_is_one_line_that_names_the_episode(line):
    with pytest.raises(InputError, match=rf"^episodes\[1\]: {line}") as told:
        read_episodes([logged(), logged(**WRONG[line])], POLICY)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("given", [None, 3, "file.npz", logged(), [3], [None], [[1, 2]]])
def test_what_is_no_list_of_episodes_is_refused(given):
    with pytest.raises(InputError, match=r"episodes( =|\[0\]:)"):
        read_episodes(given, POLICY)


def test_an_episode_is_cut_as_the_horizon_would_have():
    long = Episode.read(logged(5, terminated=True, stopped="unsafe"))
    cut = long.first_steps(2)
    assert (cut.steps, cut.ended) == (2, "truncated")
    assert cut.rewards.tolist() == [1, 2]
    np.testing.assert_array_equal(cut.observations, long.observations[:3])
    np.testing.assert_array_equal(cut.actions, long.actions[:2])
    assert long.first_steps(5) is long


def test_a_record_is_one_line():
    def line(check=False, collections=1, collection=1, **ended):
        episode = Episode.read(logged(**ended))
        return str(EpisodeRecord(collection, collections, check, 3, 5, episode))

    assert line() == "episode 3 of 5: return 6.0, 3 steps"
    assert line(terminated=True).endswith("3 steps, terminated")
    assert line(stopped="unsafe").endswith("3 steps, stopped by limits.unsafe")
    assert line(stopped="the operator").endswith("3 steps, stopped: the operator")
    assert line(diverged=True) == "episode 3 of 5: return nan, 3 steps, diverged"
    assert line(collections=2, collection=2).startswith("step 2 of 2, episode 3 of 5: ")
    assert line(check=True, collection=2).startswith("check, episode 3 of 5: ")


def test_episodes_survive_a_file_without_pickle(tmp_path):
    episodes = [
        Episode.read(logged(2, terminated=True, outputs=np.full((2, 2), 1 / 3))),
        Episode.read(logged(3, stopped="the operator")),
        Episode.read(logged(0, diverged=True, observations=np.zeros((0, 2)))),
    ]
    path = metarl.save_episodes(tmp_path / "new" / "log.npz", episodes)
    loaded = metarl.load_episodes(str(path))
    assert [e.ended for e in loaded] == ["terminated", "stopped: the operator", "diverged"]
    for before, after in zip(episodes, loaded, strict=True):
        for name in ("observations", "actions", "rewards"):
            np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    np.testing.assert_array_equal(loaded[0].outputs, episodes[0].outputs)
    assert loaded[1].outputs is None
    with np.load(path, allow_pickle=False) as plain:
        assert plain["1.rewards"].tolist() == [1, 2, 3]


def test_files_that_hold_no_episodes_are_one_line(tmp_path):
    with pytest.raises(InputError, match=r"must end in \.npz"):
        metarl.save_episodes(tmp_path / "log.json", [])
    broken = {
        "missing.npz": None,
        "text.npz": b"hello",
        "array.npz": b"\x93NUMPY\x01\x00v\x00" + b" " * 10,
        "empty.npz": b"",
    }
    for name, content in broken.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(RunError, match=f"{name}: ") as told:
            metarl.load_episodes(tmp_path / name)
        assert "\n" not in str(told.value)
    np.save(tmp_path / "plain.npy", np.ones(3))
    np.savez(tmp_path / "other.npz", weights=np.ones(3))
    np.savez(tmp_path / "pickled.npz", **{"0.rewards": np.array([{}], dtype=object)})
    short = {f"0.{name}": value for name, value in logged().items() if name != "rewards"}
    np.savez(tmp_path / "short.npz", **short)
    for name in ("plain.npy", "other.npz", "pickled.npz", "short.npz"):
        with pytest.raises(RunError, match=name):
            metarl.load_episodes(tmp_path / name)
    cut = tmp_path / "cut.npz"
    whole = metarl.save_episodes(tmp_path / "whole.npz", [Episode.read(logged())]).read_bytes()
    cut.write_bytes(whole[:-40])
    with pytest.raises(RunError, match="not a readable file of episodes"):
        metarl.load_episodes(cut)
