import re

import pytest
from support.tiny import tiny_policy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import metarl
from experiments import demo as experiment
from metarl.cli import demo
from metarl.runs.checkpoint import save_policy
from metarl_envs import InputError


@pytest.fixture
def policy(tmp_path):
    saved = tiny_policy("half-cheetah-direction", horizon=6)
    return save_policy(tmp_path / "policy", saved)


def test_without_opengl_the_rest_is_shown(policy, tmp_path, monkeypatch, capsys):
    def no_gl(*args, **kwargs):
        raise InputError("cannot render without OpenGL: set MUJOCO_GL=egl")

    monkeypatch.setattr(demo, "record", no_gl)
    shown = demo.main(tmp_path / "out", policy=policy, runs=4, episodes=2)
    printed = capsys.readouterr().out
    assert "no video: cannot render" in printed
    assert shown.videos == []
    assert "+1 runs forward, -1 backward" in printed
    assert "2 tasks, 4 runs" in printed
    assert "measured by: mean action" in printed
    assert re.search(r"^gain  .* over another task's adaptation$", printed, re.MULTILINE)
    assert re.search(r"direction = -1: return \S+ -> \S+, forward velocity \S+ -> \S+ m/s", printed)
    for path in (*shown.figures, shown.adapted):
        assert path.exists()
    last = "\n".join(printed.splitlines()[-10:])
    assert str(tmp_path / "out" / "evaluation" / "adaptation_curve.png") in last
    assert metarl.load(shown.adapted).adapted["task"] == {"direction": -1.0}


@pytest.mark.render
def test_video_is_written_beside_the_rest(policy, tmp_path, capsys):
    shown = demo.main(tmp_path, policy=policy, runs=2, episodes=2, width=128)
    assert [path.suffix for path in shown.videos] == [".mp4", ".gif", ".json"]
    printed = capsys.readouterr().out
    assert all(f"video           {path}\n" in printed for path in shown.videos[:2])


def test_missing_policy_is_an_error_that_names_the_folder(tmp_path):
    with pytest.raises(RuntimeError, match="nowhere"):
        demo.main(tmp_path, policy=tmp_path / "nowhere")


@pytest.mark.render
def test_training_demo_trains_a_new_run_and_shows_it(tmp_path, capsys):
    (tmp_path / "demo").mkdir()  # an older one
    arguments = ["--iterations", "2", "--meta-batch-size", "2", "--horizon", "6"]
    assert experiment.main(arguments, tmp_path / "demo", width=96) == 0
    printed = capsys.readouterr().out
    run = tmp_path / "demo-2"
    assert not any((tmp_path / "demo").iterdir())
    for path in (run / "evaluation" / "adaptation_curve.png", run / "learning_curve.png"):
        assert path.exists() and str(path) in printed
    assert len(list((run / "videos").glob("*.mp4"))) == 2  # both directions
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
