"""Films of policies that adapt within the episode."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.remembering import RememberingConfig
from support.tiny import tiny_policy
from support.tiny_runs import run_with

import metarl
from metarl.policies.base import Policy, PolicyConfig
from metarl.policies.frame_stack import FrameStackConfig
from metarl.policies.planning import PlanningConfig
from metarl.runs.checkpoint import SavedPolicy
from metarl.video import record
from metarl.video.belief import belief_vectors
from metarl.video.captions import change_text, composer_of, target_of, whole_text
from metarl.video.charts import CHANGE
from metarl.video.encode import choose_pace
from metarl.video.episode import Script, follow, play
from metarl.video.shots import trial_shot
from metarl_envs import BatchEnv, InputError, TaskFamily, get_family

NAVIGATION, PAYLOAD = get_family("navigation"), get_family("half-cheetah-payload-velocity")
SMALL = {"width": 96, "height": 72, "gif": False}


REMEMBERING = RememberingConfig()
PLANNING = PlanningConfig(hidden_sizes=(4,), candidates=8, rounds=1, plan_steps=2)


def remembering(
    family: TaskFamily, horizon: int = 6, config: PolicyConfig = REMEMBERING
) -> SavedPolicy:
    plain = tiny_policy(family.name, horizon=horizon)
    config = replace(config, action_scale=plain.config.policy.action_scale)
    policy = Policy.for_family(family, config)
    params = policy.init(torch.Generator().manual_seed(0))
    return SavedPolicy(policy, params, replace(plain.config, policy=config), {"iteration": 0})


def filmed(saved, family, task, changes=None, episodes=(1, 2)):
    shot = trial_shot(saved, family, task, changes or {}, episodes, seed=0)
    env = BatchEnv(family, len(episodes), 1, horizon=saved.config.horizon)
    return shot, follow(env, shot.script)


def test_an_episode_begins_with_the_belief_that_the_one_before_it_left():
    saved, task = remembering(PAYLOAD), PAYLOAD.nominal_tasks()
    _, episode = filmed(saved, PAYLOAD, task, episodes=(1, 2, 4))
    first, second, fourth = episode.beliefs
    np.testing.assert_array_equal(second[0], first[-1])
    # The belief counts actions: 3 episodes of 6 steps before the fourth.
    assert [belief[0, 0] for belief in (first, second, fourth)] == [0.0, 6.0, 18.0]
    assert not np.array_equal(episode.returns[0], episode.returns[1])


@pytest.mark.parametrize(
    ("config", "later"),
    [
        (REMEMBERING, "remembers 1 episode"),
        (PLANNING, "adapts as it goes"),
        (FrameStackConfig(), "adapts as it goes"),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
)
def test_only_a_belief_that_outlives_an_episode_is_said_to_remember_it(config, later):
    shot, _ = filmed(remembering(PAYLOAD, config=config), PAYLOAD, PAYLOAD.nominal_tasks())
    assert shot.titles == (("EPISODE 1", "adapts as it goes"), ("EPISODE 2", later))


def test_all_episodes_start_in_the_same_state():
    saved, task = remembering(PAYLOAD), PAYLOAD.nominal_tasks()
    shot = trial_shot(saved, PAYLOAD, task, {}, (1, 3), seed=5)
    env = BatchEnv(PAYLOAD, 2, 1, horizon=6)
    next(play(env, shot.script))
    observations = env.observation()
    assert torch.equal(observations[0], observations[1])


def test_episodes_before_a_shown_one_are_lived_in_the_task_of_the_beginning():
    saved, task = remembering(PAYLOAD), PAYLOAD.make_task({"velocity": 1.0})
    changes = {3: PAYLOAD.make_task({"velocity": -1.0})}
    _, plain = filmed(saved, PAYLOAD, task)
    _, switched = filmed(saved, PAYLOAD, task, changes)
    # The belief holds the last reward, which the change of the goal alters from the next step on.
    np.testing.assert_array_equal(switched.beliefs[:, :4], plain.beliefs[:, :4])
    assert not np.array_equal(switched.beliefs[:, 4], plain.beliefs[:, 4])


def test_a_belief_stays_as_it_is_after_its_world_has_ended():
    family = get_family("hopper-dynamics")
    saved = remembering(family, horizon=200)
    pushed = saved.params | {"bias_0": torch.full((3,), 100.0)}
    params = {name: torch.stack([v, pushed[name]]) for name, v in saved.params.items()}
    env = BatchEnv(family, 2, 1, horizon=200)
    *_, last = play(env, Script(saved.policy, params, family.nominal_tasks(), 0))
    episode = follow(env, Script(saved.policy, params, family.nominal_tasks(), 0))
    assert episode.lengths[1] < episode.lengths[0]
    counts = belief_vectors(last.belief, 2)[:, 0]
    assert counts.tolist() == list(episode.lengths)  # actions counted


def test_a_film_of_a_trial_says_what_it_shows(tmp_path):
    saved, task = remembering(NAVIGATION), NAVIGATION.make_task({"goal": (0.4, -0.3)})
    switches = {3.0: {"goal": (-0.4, 0.3)}}
    paths = record(saved, task, tmp_path, switches=switches, show=(1, 2), **SMALL)
    stem = "navigation__given__task00__3s-goal=-0.4,0.3__episode1-2__seed0"
    assert [path.name for path in paths] == [f"{stem}.mp4", f"{stem}.json"]
    data = json.loads(paths[-1].read_text())
    assert [entry["episode"] for entry in data["shown"]] == [1, 2]
    assert data["switches"] == [{"step": 3, "time_s": 3.0, "task": {"goal": [-0.4, 0.3]}}]
    assert "adaptation" not in data


def test_a_world_alone_is_as_wide_as_two(tmp_path):
    import imageio_ffmpeg

    saved, task = remembering(NAVIGATION), NAVIGATION.nominal_tasks()
    path = record(saved, task, tmp_path, show=(1,), **SMALL)[0]
    assert next(imageio_ffmpeg.read_frames(str(path)))["size"][0] == 192


@pytest.mark.parametrize("show", [(), (0,), (1, 1), (1, 2, 3, 4, 5), (1.5,)])
def test_episodes_that_cannot_be_shown_are_refused(tmp_path, show):
    saved = remembering(NAVIGATION)
    with pytest.raises(InputError, match="show"):
        record(saved, NAVIGATION.nominal_tasks(), tmp_path, show=show, **SMALL)


def test_a_wrong_switch_is_refused_before_any_episode(tmp_path, monkeypatch):
    def adapt(*args, **kwargs):
        raise AssertionError("adapted before the switch was checked")

    monkeypatch.setattr("metarl.video.film.adapt_to_task", adapt)
    task = NAVIGATION.nominal_tasks()
    with pytest.raises(InputError, match="did you mean goal"):
        record(tiny_policy("navigation"), task, tmp_path, switches={3: {"gaol": 0}}, **SMALL)


def composed(changes):
    saved, task = remembering(PAYLOAD), PAYLOAD.make_task({"velocity": 1.0})
    shot, episode = filmed(saved, PAYLOAD, task, changes)
    pace = choose_pace(PAYLOAD.dt_s, 6)
    return composer_of(shot, episode, pace, (480, 360))


def test_the_moment_of_a_switch_is_marked_in_every_part_of_the_picture():
    changes = {3: PAYLOAD.make_task({"velocity": -1.0})}
    with_switch, without = composed(changes), composed({})
    worlds = [np.zeros((360, 480, 3), np.uint8)] * 2

    def marked(composer, step):
        """Pixels of about the colour of changes."""
        return (np.abs(composer.frame(worlds, step).astype(int) - CHANGE) < 40).all(axis=-1)

    # Both pictures, both strips with beliefs, and the chart at the step of the switch.
    parts = (
        np.s_[82:300, :480],
        np.s_[82:300, 480:],
        np.s_[482:546, :480],
        np.s_[482:546, 480:],
        np.s_[555:560, 515:530],
    )
    assert not any(marked(with_switch, 2)[part].any() for part in parts)
    assert not any(marked(without, 3)[part].any() for part in parts)
    assert all(marked(with_switch, 3)[part].any() for part in parts)


def test_a_long_note_stays_inside_its_picture():
    changes = {3: PAYLOAD.make_task({"velocity": -1.2345, "torso_mass_scale": 2.3456})}
    composer = composed(changes)
    first, second = composer.stages
    long = replace(second, change=second.change * 4)
    composer = replace(composer, sides=composer.sides[:2], stages=(first, long))
    worlds = [np.full((360, 480, 3), value, np.uint8) for value in (0, 255)]
    frame = composer.frame(worlds, 3)
    assert (frame[82:442, 470:478] == 0).all()  # right edge of the left picture


def test_the_task_and_its_target_are_those_of_the_moment():
    composer = composed({3: PAYLOAD.make_task({"velocity": -1.0})})
    first, second = composer.stages
    assert (first.start, first.target, first.change) == (0, 1.0, "")
    assert (second.start, second.target) == (3, -1.0)
    assert second.change == "velocity = 1 m/s -> -1 m/s"
    assert second.task == "velocity = -1 m/s, torso_mass_scale = 1"
    assert composer._quantities.targets == (1.0, -1.0)


def test_only_parameters_that_change_are_named():
    before = PAYLOAD.make_task({"velocity": 1.0})
    after = PAYLOAD.make_task({"velocity": 1.0, "torso_mass_scale": 2.5})
    assert change_text(PAYLOAD, before, after) == "torso_mass_scale = 1 -> 2.5"


def test_a_caption_begins_with_what_is_not_nominal():
    text = whole_text(PAYLOAD, PAYLOAD.make_task({"torso_mass_scale": 2.5}))
    assert text == "torso_mass_scale = 2.5, velocity = 1 m/s"
    assert whole_text(PAYLOAD, PAYLOAD.nominal_tasks()) == "velocity = 1 m/s, torso_mass_scale = 1"


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("half-cheetah-velocity", 1.0),
        ("half-cheetah-direction", None),
        ("navigation", None),
        ("puck-slide", None),
    ],
)
def test_the_target_is_the_goal_that_is_named_as_the_quantity(name, target):
    family = get_family(name)
    assert target_of(family, family.nominal_tasks()) == target


@pytest.mark.render
def test_in_python_a_film_is_made_as_by_the_command(tmp_path):
    run = run_with(tmp_path / "run", 1)
    written = metarl.record(
        run, task={"goal": (0.3, -0.2)}, switch={4.0: {"goal": (0.1, 0.1)}}, episodes=2
    )
    assert {path.parent for path in written} == {run / "videos"}
    data = json.loads(written[-1].read_text())
    assert data["task"] == {"goal": [0.3, -0.2]}
    assert data["switches"][0]["task"] == {"goal": [0.1, 0.1]}
