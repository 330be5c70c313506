"""`metarl baseline`: every baseline is a run that the other commands take."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
from pathlib import Path

import pytest
import torch

from metarl.api.training import baseline_config, chosen_task
from metarl.cli import main
from metarl.cli.baseline import Baseline
from metarl.cli.closing import task_words
from metarl.cli.parser import parse
from metarl.methods.baselines import BASELINES, baseline_recipe
from metarl.methods.config import settings
from metarl.methods.settings import BASELINE_SETTINGS
from metarl.runs.checkpoint import load_policy, load_run_config
from metarl_envs import InputError, get_family

SMALL = [
    "--env-steps",
    "50",
    "--worlds",
    "3",
    "--horizon",
    "8",
    "--sim-threads",
    "1",
    "--outer.minibatches",
    "2",
]
DYNAMICS = get_family("half-cheetah-dynamics")
EVALUATE = ["--tasks", "2", "--episodes", "2", "--sim-threads", "1"]


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_trains_and_is_evaluated_and_adapted(capsys, name):
    pytest.importorskip("stable_baselines3")
    assert main(["baseline", name, "navigation", *SMALL]) == 0
    shown = capsys.readouterr().out
    run = Path(f"runs/navigation-{name}-0")
    assert BASELINES[name].title in shown.splitlines()[0]
    assert load_run_config(run).method == name
    assert main(["evaluate", str(run), *EVALUATE]) == 0
    task = ["--task", "goal=0.3,-0.2", "--episodes", "2", "--sim-threads", "1"]
    assert main(["adapt", str(run), *task]) == 0
    before, after = (load_policy(p) for p in (run, run / "adapted" / "goal=0.3,-0.2"))
    changed = not torch.equal(before.params["weight_0"], after.params["weight_0"])
    assert changed == (name == "finetuned")


def test_evaluate_says_how_much_of_the_gap_is_closed(capsys):
    pytest.importorskip("stable_baselines3")
    for name in ("robust", "oracle"):
        assert main(["baseline", name, "navigation", *SMALL, "--run", name]) == 0
    assert main(["baseline", "random", "navigation", "--horizon", "8", "--run", "noise"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "robust", "noise", *EVALUATE]) == 0
    assert "share of the gap" not in capsys.readouterr().out
    assert main(["evaluate", "robust", "noise", "oracle", *EVALUATE]) == 0
    shown = capsys.readouterr().out
    assert "share of the gap" in shown
    assert len(re.findall(r"the oracle returns [+-]", shown)) == 3
    assert json.loads(Path("comparison/comparison.json").read_text())["gap"] is None
    gap = json.loads(Path("comparison-2/comparison.json").read_text())["gap"]
    assert list(gap["test"]["closed"]) == ["random"]


def test_a_stack_of_frames_is_chosen_compared_by_name_and_not_exported(capsys):
    pytest.importorskip("stable_baselines3")
    pytest.importorskip("onnx")
    given = ["--policy.frames", "3", "--policy.observe-reward", "False"]
    assert main(["baseline", "frame-stack", "navigation", *SMALL, *given, "--run", "frames"]) == 0
    assert "it reads the last steps" in capsys.readouterr().out
    network = load_run_config(Path("frames")).policy
    assert (network.frames, network.observe_reward) == (3, False)
    assert load_policy(Path("frames")).params["weight_0"].shape == (2 + 2 * (2 + 2 + 2), 64)
    assert main(["baseline", "random", "navigation", "--horizon", "8", "--run", "noise"]) == 0
    assert main(["evaluate", "frames", "noise", *EVALUATE]) == 0
    capsys.readouterr()
    written = json.loads(Path("comparison/comparison.json").read_text())
    assert set(written["methods"]) == {"frame-stack", "random"}
    assert main(["export", "frames"]) == 2
    assert "FrameStackPolicy: cannot be exported as ONNX" in capsys.readouterr().err
    assert main(["baseline", "robust", "navigation", *SMALL, *given]) == 2
    assert "policy.frames" in capsys.readouterr().err


def test_a_stopped_baseline_goes_on_and_a_finished_one_says_how(capsys, monkeypatch):
    pytest.importorskip("stable_baselines3")
    from metarl.sb3 import training

    iterate = training.PpoLearner.iterate

    def stop_in_the_first(self):
        if self.iteration == 0:
            signal.raise_signal(signal.SIGTERM)
        return iterate(self)

    with monkeypatch.context() as patch:
        patch.setattr(training.PpoLearner, "iterate", stop_in_the_first)
        assert main(["baseline", "scratch", "navigation", *SMALL, "--run", "a b"]) == 75
    assert "continue with: metarl resume 'a b'\n" in capsys.readouterr().err
    assert main(["resume", "a b"]) == 0
    shown = capsys.readouterr().out
    assert "2 iterations from iteration 1 of 3 worlds x 8 steps = 48 steps" in shown
    assert "gain" not in shown and "does not adapt" in shown
    assert main(["baseline", "scratch", "navigation", *SMALL, "--run", "whole"]) == 0
    capsys.readouterr()
    first, second = (load_policy(Path(name)).metadata for name in ("a b", "whole"))
    assert first["sha256"] == second["sha256"] and first["task"] == second["task"]
    # Finished: the command that it prints works.
    assert main(["resume", "a b"]) == 0
    complete, command = capsys.readouterr().out.splitlines()
    assert complete.startswith("a b is complete (3 iterations)")
    assert command == "  metarl resume 'a b' --iterations 6"
    assert main([*shlex.split(command)[1:], "--quiet"]) == 0
    assert main(["resume", "a b", "--env-steps", "170", "--quiet"]) == 0
    assert load_policy(Path("a b")).metadata["iteration"] == 8  # of 24 steps
    assert main(["resume", "a b", "--env-steps", "9", "--quiet"]) == 2
    assert main(["resume", "a b", "--iterations", "9", "--env-steps", "9"]) == 2
    assert main(["resume", "a b", "--device", "cuda"]) == 2


def test_a_baseline_killed_before_its_first_checkpoint_starts_again(capsys):
    pytest.importorskip("stable_baselines3")
    for run in ("early", "whole"):
        assert main(["baseline", "robust", "navigation", *SMALL, "--run", run, "--quiet"]) == 0
    shutil.rmtree("early/checkpoints")
    assert main(["resume", "early", "--quiet"]) == 0
    first, second = (load_policy(Path(name)).metadata for name in ("early", "whole"))
    assert first["sha256"] == second["sha256"]


def test_a_baseline_of_an_older_version_is_said_to_be_one(capsys):
    pytest.importorskip("stable_baselines3")
    assert main(["baseline", "robust", "navigation", *SMALL, "--run", "r", "--quiet"]) == 0
    state = list(Path("r/checkpoints").glob("*/training.*"))
    assert state
    for path in state:
        path.unlink()
    assert main(["resume", "r", "--iterations", "9"]) == 1
    message = capsys.readouterr().err
    assert re.search(r"r.checkpoints.*training", message)


def test_scratch_meets_its_task_alone_and_suggests_it(capsys):
    pytest.importorskip("stable_baselines3")
    assert main(["baseline", "scratch", "navigation", *SMALL, "--task", "goal=0.3,-0.2"]) == 0
    shown = capsys.readouterr().out
    assert "PPO from scratch on goal = (0.3, -0.2) m" in shown
    assert load_policy(Path("runs/navigation-scratch-0")).metadata["task"] == {"goal": [0.3, -0.2]}
    (suggested,) = re.findall(r"metarl (adapt .*)", shown)
    assert main([*suggested.split(), "--episodes", "2", "--sim-threads", "1"]) == 0
    assert main(["evaluate", "runs/navigation-scratch-0", *EVALUATE]) == 0
    assert "{'goal': [0.3, -0.2]}" in capsys.readouterr().out


def test_a_sampled_task_can_be_given_as_words():
    config = baseline_config("scratch", DYNAMICS.name, {"seed": 3})
    task = chosen_task(config, None)
    words = task_words(task.describe(0))
    command = parse(["baseline", "scratch", DYNAMICS.name, "--task", *words])
    assert isinstance(command, Baseline)
    assert command.chosen_task() == task


def test_fine_tuning_starts_from_a_run_that_is_there(capsys):
    assert main(["baseline", "random", "navigation", "--horizon", "8", "--run", "a"]) == 0
    assert main(["baseline", "finetuned", "navigation", "--start", "a", "--run", "b"]) == 0
    assert capsys.readouterr().out.count("nothing to train") == 2
    first, second = load_policy(Path("a")), load_policy(Path("b"))
    assert all(torch.equal(second.params[name], value) for name, value in first.params.items())
    assert second.config.horizon == 8 and second.config.policy == first.config.policy
    assert second.metadata["start"] == first.metadata["sha256"]
    assert main(["evaluate", "b", *EVALUATE]) == 0


def test_random_is_noise_around_zero():
    assert main(["baseline", "random", "half-cheetah-velocity", "--quiet", "--run", "a"]) == 0
    saved = load_policy(Path("a"))
    observations = torch.randn(1, 5, 17, generator=torch.Generator().manual_seed(0))
    assert not saved.policy.mean(saved.params, observations).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("baseline robust navigation --worlds 0", "worlds = 0"),
        ("baseline robust navigation --env-steps 0", "env_steps = 0"),
        ("baseline robust nav", "navigation"),
        ("baseline robst navigation", "robst"),
        ("baseline robust navigation --start a", "--start: for the baseline finetuned"),
        ("baseline robust navigation --task goal=0,0", "--task: for the baseline scratch"),
        ("baseline robust navigation --outer.exploration 1", "outer.exploration"),
        ("baseline robust navigation --inner.epochs 1", "inner.epochs"),
        ("baseline finetuned half-cheetah-velocity --start a", "a policy of navigation"),
        ("resume a", "a: this policy is not trained"),
    ],
)
def test_what_cannot_be_is_refused(capsys, arguments, message):
    main(["baseline", "random", "navigation", "--quiet", "--run", "a"])
    capsys.readouterr()
    assert main(arguments.split()) == 2
    complaint = capsys.readouterr().err
    assert message in complaint
    assert "Traceback" not in complaint


def test_without_stable_baselines3_one_line_says_what_to_install(capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    assert main(["baseline", "robust", "navigation"]) == 1
    assert "pip install 'metarl-robotics[sb3]'" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_every_setting_that_is_offered_is_one_of_some_baseline():
    known = {name for b in BASELINES for name in settings(baseline_recipe("navigation", b))}
    assert set(BASELINE_SETTINGS) <= known
    with pytest.raises(InputError):
        baseline_config("robust", "navigation", {"outer.clip": 2})
