"""Errors of the command line: one or two lines, and an exit code of their own."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest
import torch
from support.tiny_runs import TINY_FLAGS, run_with

from metarl import api, cli
from metarl.api.training import Beginning
from metarl.cli import ExitCode, explain, main, missing_module
from metarl.cli.parser import COMMANDS
from metarl.errors import FaultError, RunError
from metarl.methods.config import TrainConfig
from metarl.outer.trpo import Trpo
from metarl.runs import checkpoint, files
from metarl.runs.checkpoint import load_policy
from metarl.training import trainer
from metarl_envs import InputError


def refused(capsys, *arguments, code=ExitCode.USAGE):
    """Error lines of a command when a value, a file or a machine stops it."""
    assert main([str(argument) for argument in arguments]) == code
    shown = capsys.readouterr()
    lines = shown.err.strip().splitlines()
    assert 1 <= len(lines) <= 2, shown.err
    assert all(line.startswith("metarl: ") for line in lines), shown.err
    assert "Traceback" not in shown.err
    return shown.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "families train"),  # all commands
        ("trainn navigation", "trainn train"),
        ("--bogus", "--bogus"),
        ("train", "FAMILY"),
        ("train navigation --iteratons 3", "--iteratons --iterations"),
        ("train navigation --iter 3", "--iter"),
        ("train navigation --iterations", "--iterations"),
        ("train navigation --iterations 3.5", "--iterations 3.5"),
        ("train navigation --iterations -- 3", "--iterations"),
        ("train navigation --inner.inner-lr fast", "--inner.inner-lr fast"),
        ("train navigation --inner.first-order yes", "--inner.first-order yes True False"),
        ("train navigation --outer.cg-iterations x", "--outer.cg-iterations x"),
        ("train navigation --policy.activation gelu", "--policy.activation gelu tanh relu"),
        ("train navigation --policy.hidden-sizes 8 x", "--policy.hidden-sizes x"),
        ("train navigation --device gpu", "--device gpu auto cpu cuda"),
        ("train navigation --inner-loss mse", "--inner-loss mse clipped log_prob ratio"),
        ("train navigation extra", "extra"),
        ("train navigation --method", "--method"),
        # Settings that another method has, or that nobody has, with the nearest.
        ("train navigation --method reptile --outer.max-kl 0.1", "--outer.max-kl"),
        ("train navigation --outer.clip 0.2", "--outer.clip"),
        ("train navigation --outer.maxkl 1", "--outer.maxkl --outer.max-kl"),
        ("train navigation --max-kl 1", "--max-kl --outer.max-kl"),
        ("train navigation --inner-lr 1", "--inner-lr --inner.inner-lr"),
        ("train navigation --set outer.max_kl=1", "--set"),
        ("train navigation --family ant", "--family"),
        ("methods promp extra", "extra"),
        ("methods --tasks 3", "--tasks"),
        ("export run --family=x.py:f", "--family"),
        ("record run --iterations 3", "--iterations"),
        ("baseline robust navigation --steps 3", "--steps --env-steps"),
        ("baseline robst navigation", "robst robust"),
        ("baseline robust navigation --outer.exploration 1", "--outer.exploration"),
        ("baseline robust navigation --inner.epochs 1", "--inner.epochs"),
        ("evaluate run --splits tset", "--splits tset extrapolation test train"),
        ("evaluate run --tasks x", "--tasks x"),
        ("resume run --meta-batch-size 5", "--meta-batch-size"),
        ("resume run --worlds=5", "--worlds"),
        ("resume run --iteratons 5", "--iteratons --iterations"),
    ],
)
def test_what_cannot_be_parsed_is_named_with_what_is_allowed_or_near(
    capsys, monkeypatch, arguments, said
):
    monkeypatch.setattr(api.training, "train_loop", None)
    assert main(arguments.split()) == ExitCode.USAGE
    shown = capsys.readouterr()
    assert all(word in shown.err for word in said.split()), shown.err
    command = next(iter(arguments.split()), "")
    help_of = f"metarl {command} --help" if command in COMMANDS else "metarl --help"
    assert help_of in shown.err
    assert "Traceback" not in shown.err and not shown.out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("train navigatoin", "'navigatoin': did you mean navigation?"),
        ("train navigatoin --help", "'navigatoin': did you mean navigation?"),
        ("train navigation --iterations 0", "^iterations = 0: must be at least 1"),
        ("train navigation --horizon 0", "^horizon = 0: must be at least 1"),
        ("train navigation --meta-batch-size -2", "^meta_batch_size = -2: "),
        ("train navigation --episodes-per-task 0", "^episodes_per_task = 0: "),
        ("train navigation --adaptation-steps 0", "^adaptation_steps = 0: "),
        ("train navigation --checkpoint-every 0", "^checkpoint_every = 0: "),
        ("train navigation --sim-threads 0", "^sim_threads = 0: "),
        ("train navigation --seed -1", "^seed = -1: must be at least 0"),
        ("train navigation --gae-lambda 1.5", "^gae_lambda = 1.5: .*at most 1"),
        ("train navigation --inner.inner-lr 0", r"^inner\.inner_lr = 0.0: .*greater than 0"),
        ("train navigation --inner.inner-lr nan", r"^inner\.inner_lr = nan: .*finite"),
        ("train navigation --outer.max-kl -1", r"^outer\.max_kl = -1.0: .*greater than 0"),
        (
            "train navigation --policy.hidden-sizes 8 -1",
            r"^policy\.hidden_sizes\[1\] = -1: must be at least 1",
        ),
        ("train navigation --meta-batch-size 1000000000", r"need more than \d+ GB, this machine"),
        ("train navigation --method prompt", "'prompt': did you mean promp"),
        ("train navigation --method x", "'x': known: .*maml-trpo.*promp"),
        ("methods prompt", "'prompt': did you mean promp"),
        ("methods robus", "'robus': did you mean robust"),
        ("families navigatoin", "did you mean navigation"),
        ("evaluate run --tasks 0", "tasks = 0: must be at least 1"),
        ("evaluate run --episodes 0", "episodes = 0: must be at least 1"),
        ("evaluate run --sim-threads 0", "sim_threads = 0"),
        ("evaluate run --steps 0", "steps = 0"),
        ("adapt run", "--task is missing; for navigation such as: --task goal="),
        ("adapt run --task goal=9,9", r"goal = \[9.0, 9.0\]: allowed in navigation"),
        ("adapt run --task goal=0,0 --episodes 0", "episodes = 0"),
        ("record run --tasks 0", "tasks = 0: must be at least 1"),
        ("resume run --iterations 0", "iterations = 0: run has done 1 already"),
        ("train navigation --seed 0 --seeds 1 2", "--seed and --seeds: give one of them"),
        ("train navigation --seeds 1 1", "--seeds 1 1: each seed once"),
        ("train navigation --wandb=", "wandb = '': must be a project's name"),
    ],
)
def test_a_value_that_is_not_allowed_is_named_in_one_line(
    capsys, tmp_path, monkeypatch, arguments, complaint
):
    # What is not refused must not train for minutes.
    monkeypatch.setattr(api.training, "train_loop", None)
    if " run" in arguments:
        run_with(tmp_path / "run", 1)
    message = refused(capsys, *arguments.split()).removeprefix("metarl: error: ")
    assert re.search(complaint, message), message


def test_no_cuda_is_said_before_anything_is_made(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "--device cpu" in refused(capsys, "train", "navigation", "--device", "cuda")
    assert list(tmp_path.iterdir()) == []
    run_with(tmp_path / "run", 1)
    assert "--device cpu" in refused(capsys, "evaluate", "run", "--device", "cuda")
    refused(capsys, "resume", "run", "--iterations", 2, "--device", "cuda")


@pytest.mark.parametrize("command", ["evaluate", "adapt", "record", "resume"])
def test_a_missing_run_is_named(capsys, command):
    message = refused(capsys, command, "nowhere", code=ExitCode.ERROR)
    assert "nowhere: no such folder" in message


@pytest.mark.parametrize("command", ["evaluate", "adapt", "record", "resume"])
def test_a_folder_without_a_run_is_left_as_it_is(capsys, tmp_path, command):
    (tmp_path / "x").mkdir()
    assert "neither a run" in refused(capsys, command, "x", code=ExitCode.ERROR)
    assert list((tmp_path / "x").iterdir()) == []


def test_a_damaged_run_is_named(capsys, tmp_path):
    run = run_with(tmp_path / "run", 1)
    (run / "checkpoints" / "000001" / "model.safetensors").write_bytes(b"")
    for command in ("evaluate", "resume"):
        assert "truncated" in refused(capsys, command, run, code=ExitCode.ERROR)


def test_a_run_is_never_overwritten(capsys, tmp_path):
    run = run_with(tmp_path / "run", 1)
    message = refused(capsys, "train", "navigation", "--run", run, code=ExitCode.ERROR)
    assert f"metarl resume {run}" in message


def test_a_folder_that_cannot_be_written_is_said_before_training(capsys, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    message = refused(capsys, "train", "navigation", "--run", "file/run", code=ExitCode.ERROR)
    assert "choose another --run" in message

    def read_only(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(files, "replace_file", read_only)
    message = refused(capsys, "train", "navigation", "--run", "new", code=ExitCode.ERROR)
    assert "Read-only file system" in message


def test_a_disk_that_fills_up_keeps_what_was_saved(capsys, tmp_path, monkeypatch):
    real, calls = os.fsync, []

    def fills_up(descriptor):
        calls.append(descriptor)
        if len(calls) > 30:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", fills_up)
    options = "--iterations 50 --checkpoint-every 1 --run run --quiet"
    arguments = [*TINY_FLAGS, *options.split()]
    message = refused(capsys, "train", "navigation", *arguments, code=ExitCode.ERROR)
    assert "No space left on device; free some disk space" in message
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    reached = int(checkpoint.checkpoints(Path("run"))[0].name)
    assert reached >= 1
    assert main(["resume", "run", "--iterations", str(reached + 1), "--quiet"]) == 0


def test_updates_that_stay_non_finite_exit_with_3_and_keep_the_last_good_state(capsys, monkeypatch):
    real = Trpo.update

    def poisoned(self, *arguments):
        update = real(self, *arguments)
        nan = {name: torch.full_like(value, torch.nan) for name, value in update.params.items()}
        return update._replace(params=nan)

    monkeypatch.setattr(Trpo, "update", poisoned)
    arguments = ["--iterations", 9, *TINY_FLAGS, "--run", "run", "--quiet"]
    message = refused(capsys, "train", "navigation", *arguments, code=ExitCode.NON_FINITE)
    assert "not finite" in message
    assert all(
        bool(torch.isfinite(value).all()) for value in load_policy(Path("run")).params.values()
    )


@pytest.mark.parametrize(
    ("error", "code", "complaint"),
    [
        (RunError("x: gone"), 1, "x: gone"),
        (FaultError("half of them"), 1, "half of them"),
        (InputError("k = 3: no"), 2, "k = 3: no"),
        (trainer.Interrupted("SIGTERM"), 75, "SIGTERM"),
        (OSError(errno.ENOSPC, "No space left", "f"), 1, "f: No space left; free some disk space"),
        (
            PermissionError(errno.EACCES, "Permission denied", "f"),
            1,
            "f: Permission denied; choose",
        ),
        (MemoryError(), 1, "out of memory.*smaller --meta-batch-size"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 1, "out of memory"),
        (RuntimeError("can't start new thread"), 1, "out of memory"),
        (ImportError("x.so: failed to map segment from shared object"), 1, "out of memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 1, "out of memory"),
        (ModuleNotFoundError("No module", name="matplotlib.pyplot"), 1, r"robotics\[plot\]'"),
        (ValueError("first\nsecond"), 1, "unexpected ValueError: first\nmetarl: .*METARL_DEBUG=1"),
        (AssertionError(), 1, "unexpected AssertionError: no details"),
    ],
)
def test_every_error_has_a_code_and_words(error, code, complaint):
    found, message = explain(error)
    assert found == code
    assert re.search(complaint, message), message
    assert len(message.splitlines()) <= 2


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("imageio_ffmpeg", "'metarl-robotics[video]'"),
        ("matplotlib", "'metarl-robotics[plot]'"),
        ("stable_baselines3", "'metarl-robotics[sb3]'"),
        ("mujoco_warp", "'metarl-robotics[gpu]'"),
        ("torch", "'metarl-robotics'"),
        ("wandb", "wandb"),
    ],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(module, package):
    assert missing_module(module).endswith(f": pip install {package}")


def test_a_traceback_is_shown_only_when_asked_for(capsys, monkeypatch):
    monkeypatch.setenv("METARL_DEBUG", "1")
    assert main(["train", "navigatoin"]) == ExitCode.USAGE
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        ("families", "files named above"),
        ("evaluate", "files named above"),
        ("train", "last checkpoint"),
        ("resume", "last checkpoint"),
    ],
)
def test_ctrl_c_says_in_one_line_what_is_kept(capsys, monkeypatch, command, kept):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "parse", interrupted)
    assert main([command]) == ExitCode.KILLED
    assert re.fullmatch(f"metarl: stopped.* nothing was .*{kept}\n", capsys.readouterr().err)


def test_ctrl_c_in_diagnose_says_what_can_be_used_again(capsys, monkeypatch):
    def interrupted(*_, announce, **__):
        config = TrainConfig(family="navigation", method="robust", horizon=8)
        announce(Beginning(Path("d/robust-0"), config, 0))
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "diagnose", interrupted)
    assert main(["diagnose", "navigation", "--oracle", "my oracle"]) == ExitCode.KILLED
    assert capsys.readouterr().err.endswith(
        ": metarl diagnose navigation --robust d/robust-0 --oracle 'my oracle'\n"
    )


def test_warp_without_a_gpu_is_warned_of_before_training(capsys, monkeypatch):
    pytest.importorskip("mujoco_warp")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def at_once(*_, **__):
        raise InputError("collected")

    monkeypatch.setattr(trainer, "Collector", at_once)
    arguments = ["--engine", "warp", *TINY_FLAGS, "--run", "run", "--quiet"]
    assert main(["train", "half-cheetah-direction", *map(str, arguments)]) == ExitCode.USAGE
    warning, error = capsys.readouterr().err.splitlines()
    assert warning.startswith("metarl: warning: engine warp")
    assert "--engine cpu" in warning
    assert error == "metarl: error: collected"
