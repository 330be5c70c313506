import re
from dataclasses import replace

import pytest
import torch
from support.tiny import tiny_policy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import metarl
from experiments import demo as experiment
from metarl.cli import demo
from metarl.methods.meta import METHODS
from metarl.policies.memory import MemoryConfig, MemoryPolicy
from metarl.runs.checkpoint import load_policy, save_policy
from metarl_envs import InputError, get_family

SMALL = demo.Sizes(runs=4, episodes=2, width=96)


@pytest.fixture
def policy(tmp_path):
    """Adapts by gradient steps."""
    saved = tiny_policy("half-cheetah-direction", horizon=6)
    return save_policy(tmp_path / "policy", saved)


@pytest.fixture
def student(tmp_path):
    """Adapts within the episode."""
    saved = tiny_policy("half-cheetah-direction", horizon=25)
    family = get_family("half-cheetah-direction")
    config = METHODS["teacher-student"].recipe(replace(saved.config, method="teacher-student"))
    network = MemoryConfig(hidden_sizes=(8,), memory_size=4, action_scale=1.0)
    memory = MemoryPolicy.for_family(family, network)
    params = memory.init(torch.Generator().manual_seed(0))
    config = replace(config, policy=network)
    return save_policy(
        tmp_path / "student", replace(saved, policy=memory, params=params, config=config)
    )


def backward(folder):
    return demo.Scene(folder, demo.BACKWARD)


@pytest.fixture
def no_films(monkeypatch):
    def no_gl(*args, **kwargs):
        raise InputError("cannot render without OpenGL: set MUJOCO_GL=egl")

    monkeypatch.setattr(demo, "record", no_gl)


def test_without_opengl_the_rest_is_shown(policy, tmp_path, no_films, capsys):
    (shown,) = demo.main(tmp_path / "out", [backward(policy)], SMALL)
    printed = capsys.readouterr().out
    assert "no video: cannot render" in printed
    assert shown.videos == []
    assert "1. BETWEEN EPISODES" in printed
    assert "Hidden: direction, +1 runs forward, -1 backward" in printed
    assert "2 tasks, 4 runs" in printed
    assert "measured by: mean action" in printed
    assert re.search(r"^gain  .* over another task's adaptation$", printed, re.MULTILINE)
    assert shown.adapted is not None
    assert re.search(r"direction = -1: return \S+ -> \S+, forward velocity \S+ -> \S+ m/s", printed)
    for path in (*shown.figures, shown.adapted):
        assert path.exists()
    last = "\n".join(printed.splitlines()[-10:])
    curve = tmp_path / "out" / "policy" / "evaluation" / "adaptation_curve.png"
    assert str(curve) in last
    adapted = metarl.load(shown.adapted).adapted
    assert adapted is not None
    assert adapted["task"] == {"direction": -1.0}


def test_both_kinds_of_adaptation_end_the_demo_in_short(
    policy, student, tmp_path, no_films, capsys
):
    between, within = demo.main(tmp_path / "out", [backward(policy), backward(student)], SMALL)
    printed = capsys.readouterr().out
    assert between.adapted is not None
    assert within.adapted is None
    ends = printed[printed.index("\nBETWEEN EPISODES") :]
    title = "AS IT ACTS, by its memory (Teacher-student): half-cheetah-direction"
    assert f"\n{title}\n" in ends
    assert re.search(
        r"^return  .* in the first episode, .* in episode 2, .* with another task's belief$",
        ends,
        re.MULTILINE,
    )
    assert re.search(r"^finds out  .*in \d of 4 trials", ends, re.MULTILINE)
    by_time = tmp_path / "out" / "student" / "evaluation" / "first-episode-train.png"
    assert by_time in within.figures
    assert f"by time         {by_time}\n" in ends
    assert f'on a robot      metarl.RobotTrial(metarl.load("{student}"))\n' in ends
    own = "metarl train half-cheetah-direction --method teacher-student --horizon 25 "
    assert f"train your own  {own}" in ends
    assert all(path.exists() for path in within.figures)


def test_a_baselines_policy_is_shown_without_a_command_that_would_not_train_it(
    tmp_path, no_films, capsys
):
    saved = tiny_policy("half-cheetah-direction", horizon=6)
    robust = replace(saved, config=replace(saved.config, method="robust"))
    demo.main(tmp_path / "out", [backward(save_policy(tmp_path / "policy", robust))], SMALL)
    printed = capsys.readouterr().out
    assert "adapted policy  metarl.load(" in printed
    assert "train your own" not in printed


@pytest.mark.render
def test_the_episodes_that_a_scene_shows_are_filmed(student, tmp_path):
    scene = replace(backward(student), show=(1, 2))
    (shown,) = demo.main(tmp_path, [scene], replace(SMALL, runs=2, width=128))
    assert "__episode1-2__" in shown.videos[0].name


@pytest.mark.render
def test_video_is_written_beside_the_rest(policy, tmp_path, capsys):
    scene = demo.Scene(policy, demo.BACKWARD, {0.2: {"direction": 1.0}})
    (shown,) = demo.main(tmp_path, [scene], replace(SMALL, runs=2, width=128))
    assert [path.suffix for path in shown.videos] == [".mp4", ".gif", ".json"]
    assert "0.2s-direction=1" in shown.videos[0].name
    printed = capsys.readouterr().out
    assert all(f"video           {path}\n" in printed for path in shown.videos[:2])


def test_missing_policy_is_an_error_that_names_the_folder(tmp_path):
    with pytest.raises(RuntimeError, match="nowhere"):
        demo.main(tmp_path, [backward(tmp_path / "nowhere")])


def test_bundled_policies_are_small_and_adapt_in_both_ways():
    policies = [load_policy(scene.policy) for scene in demo.BUNDLED]
    methods = ["teacher-student", "teacher-student", "meta-sgd"]
    assert [policy.config.method for policy in policies] == methods
    size = sum(path.stat().st_size for path in demo.ASSETS.rglob("*") if path.is_file())
    assert size < 1e6


@pytest.mark.render
def test_training_demo_trains_a_new_run_and_films_its_first_episodes(tmp_path, capsys):
    (tmp_path / "demo").mkdir()  # an older one
    arguments = ["--iterations", "4", "--meta-batch-size", "4", "--horizon", "25"]
    assert experiment.main(arguments, tmp_path / "demo", width=96) == 0
    printed = capsys.readouterr().out
    run = tmp_path / "demo-2"
    assert not any((tmp_path / "demo").iterdir())
    by_time = run / "evaluation" / "first-episode-train.png"
    for path in (by_time, run / "learning_curve.png"):
        assert path.exists() and str(path) in printed
    films = list((run / "videos").glob("*__episode1-2__*.mp4"))
    assert len(films) == 2  # both floors
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert {"eval/adaptation_curve", "video/task"} <= set(events.Tags()["images"])


def test_help_of_the_training_demo_trains_nothing(tmp_path, capsys):
    assert experiment.main(["--help"], tmp_path / "demo") == 0
    assert "--iterations" in capsys.readouterr().out
    assert not (tmp_path / "demo").exists()


def test_a_wrong_option_of_the_training_demo_trains_nothing(tmp_path, capsys):
    assert experiment.main(["--iterations", "none"], tmp_path / "demo") != 0
    assert "--iterations" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
