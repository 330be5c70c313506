"""The command line: what it offers is frozen, what it refuses takes one line."""

from __future__ import annotations

import errno
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import tyro
from runs import run_with

import metarl
from metarl import checkpoint, cli, files, run_folder, trainer
from metarl.algorithms.maml_trpo import MamlTrpo
from metarl.checkpoint import load_policy, load_run_config
from metarl.cli import ExitCode, explain, main, missing_module
from metarl.cli.parser import COMMANDS
from metarl.cli.tasks import example_task, folder_name, parse_task
from metarl.cli.training import Train
from metarl.errors import FaultError, RunError
from metarl.recipes import recipe
from metarl_envs import FAMILIES, InputError, get_family

ROOT = Path(__file__).resolve().parents[2]
FLAGS = {
    "families": "",
    "train": (
        "--iterations --meta-batch-size --episodes-per-task --horizon --adaptation-steps "
        "--inner-lr --inner-loss --first-order --max-kl --gae-lambda --seed --device "
        "--sim-threads --checkpoint-every --run --quiet"
    ),
    "evaluate": "--splits --tasks --episodes --steps --seed --device --sim-threads --out",
    "adapt": "--task --episodes --steps --seed --device --sim-threads --out",
    "record": "--task --split --tasks --episodes --steps --seed --device --sim-threads --out",
    "resume": "--iterations --sim-threads --device --quiet",
    "demo": "--out",
    "doctor": "",
}
"""A flag is a promise: whoever changes this list breaks somebody's script."""
TINY = [
    "--meta-batch-size",
    "3",
    "--episodes-per-task",
    "3",
    "--horizon",
    "8",
    "--sim-threads",
    "1",
]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("METARL_DEBUG", raising=False)


def refused(capsys, *arguments, code=ExitCode.USAGE):
    """What a command says when it ends with an error."""
    assert main([str(argument) for argument in arguments]) == code
    shown = capsys.readouterr()
    lines = shown.err.strip().splitlines()
    assert 1 <= len(lines) <= 2, shown.err
    assert all(line.startswith("metarl: ") for line in lines), shown.err
    assert "Traceback" not in shown.err
    return shown.err


# ---- what it offers ------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_one_screen(capsys, command):
    assert main([command, "--help"] if command else ["--help"]) == 0
    lines = capsys.readouterr().out.rstrip().splitlines()
    assert sum(max(1, math.ceil(len(line) / 80)) for line in lines) <= 50


@pytest.mark.parametrize("command", COMMANDS)
def test_the_flags_are_frozen(capsys, command):
    main([command, "--help"])
    shown = capsys.readouterr().out
    found = re.findall(r"^[│ ]? *(--[a-z][a-z-]*)", shown, re.MULTILINE)
    assert found == FLAGS[command].split()


def test_the_commands_are_frozen():
    assert list(COMMANDS) == list(FLAGS)


def test_help_of_train_says_where_defaults_come_from(capsys):
    main(["train", "--help"])
    assert "come from the family's recipe" in capsys.readouterr().out


def test_help_and_version_need_neither_torch_nor_mujoco():
    code = (
        "import sys; from metarl.cli import main; main(['--version']); main(['train', '--help']);"
        "sys.exit(bool({'torch', 'mujoco', 'gymnasium', 'tensorboard'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "envs")])}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"metarl {metarl.__version__}\n")


def test_families_are_a_table_with_units_and_ranges(capsys):
    assert main(["families"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["family", "parameter", "unit", "train", "extrapolation"]
    (velocity,) = [line for line in lines if line.startswith("half-cheetah-velocity")]
    assert re.split(r"  +", velocity)[1:] == ["velocity", "m/s", "[0, 2]", "[2, 3]"]
    first = {line.split()[0] for line in lines if line}
    assert set(FAMILIES) <= first


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_described_with_its_source_and_recipe(capsys, name):
    assert main(["families", name]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{name}: ")
    assert f"--iterations {recipe(name).iterations} " in shown
    assert get_family(name).source[:20] in shown.replace("\n", " ")


# ---- training ------------------------------------------------------------------------------------


def test_what_is_given_changes_the_recipe_and_nothing_else():
    command = Train(
        "navigation",
        iterations=7,
        seed=3,
        inner_lr=0.5,
        first_order=True,
        max_kl=0.02,
        device="cpu",
    )
    config = command.config()
    base = recipe("navigation")
    assert (config.iterations, config.seed, config.device) == (7, 3, "cpu")
    assert (config.inner.inner_lr, config.inner.first_order) == (0.5, True)
    assert config.outer.max_kl == 0.02
    assert config.meta_batch_size == base.meta_batch_size
    assert config.inner.inner_loss == base.inner.inner_loss
    assert Train("navigation").config() == base


def test_training_ends_with_what_was_gained_and_the_next_commands(capsys):
    assert main(["train", "navigation", "--iterations", "2", *TINY, "--seed", "4"]) == 0
    shown = capsys.readouterr().out
    first, *_ = shown.splitlines()
    assert all(word in first for word in ("navigation", "MAML-TRPO", "seed 4", "runs/navigation-4"))
    assert re.search(r"mean of the last +2: return -?\d+\.\d before adaptation, .* gain ", shown)
    assert load_run_config(Path("runs/navigation-4")).horizon == 8
    for command in ("evaluate", "adapt", "record", "resume"):
        assert f"  metarl {command} runs/navigation-4" in shown
    # The commands that it suggests work.
    (resume,) = re.findall(r"metarl (resume .*)", shown)
    assert main([*resume.split(), "--quiet"]) == 0
    (adapt,) = re.findall(r"metarl (adapt .*)", shown)
    assert main([*adapt.split(), "--episodes", "3", "--sim-threads", "1"]) == 0


def test_a_second_run_gets_a_folder_of_its_own(capsys):
    for name in ("navigation-0", "navigation-0-2", "navigation-0-3"):
        assert main(["train", "navigation", "--iterations", "1", *TINY, "--quiet"]) == 0
        assert capsys.readouterr().out == f"runs/{name}\n"


def test_a_finished_run_says_how_to_go_on(capsys):
    assert main(["train", "navigation", "--iterations", "1", *TINY, "--quiet", "--run", "r"]) == 0
    assert main(["resume", "r"]) == 0
    assert "metarl resume r --iterations 2" in capsys.readouterr().out
    assert "iterations = 0" in refused(capsys, "resume", "r", "--iterations", 0)


# ---- what a policy can do ------------------------------------------------------------------------


def test_adapt_saves_a_policy_that_loads_and_differs(tmp_path, capsys):
    run = run_with(tmp_path / "run", 1)
    task = ["--task", "goal=0.3,-0.2"]
    assert main(["adapt", str(run), *task, "--episodes", "3", "--sim-threads", "1"]) == 0
    assert "return" in capsys.readouterr().out
    adapted = load_policy(run / "adapted" / "goal=0.3,-0.2")
    assert not torch.equal(adapted.params["weight_0"], load_policy(run).params["weight_0"])
    policy = metarl.load(run / "adapted" / "goal=0.3,-0.2")
    assert policy.predict(torch.zeros(2))[0].shape == (2,)


def test_evaluate_writes_beside_a_run_and_never_into_a_checkpoint(tmp_path, capsys):
    run = run_with(tmp_path / "run", 1)
    sizes = ["--tasks", "2", "--episodes", "2", "--sim-threads", "1", "--splits", "train", "test"]
    for path, folder in (
        (run, "evaluation"),
        (run / "checkpoints" / "000001", "evaluation-000001"),
    ):
        assert main(["evaluate", str(path), *sizes]) == 0
        shown = capsys.readouterr().out
        assert "train: 2 tasks" in shown
        assert "extrapolation" not in shown
        assert {path.suffix for path in (run / folder).iterdir()} >= {".csv", ".png"}


@pytest.mark.render
def test_record_writes_into_the_runs_videos(tmp_path, capsys):
    run = run_with(tmp_path / "run", 1)
    task = ["--task", "goal=0.3,-0.2"]
    assert main(["record", str(run), *task, "--episodes", "2", "--sim-threads", "1"]) == 0
    written = [Path(line.split()[1]) for line in capsys.readouterr().out.splitlines()]
    assert written
    assert all(path.parent == run / "videos" and path.exists() for path in written)


def test_a_task_can_be_typed_together_or_apart():
    dynamics = get_family("half-cheetah-dynamics")
    together = parse_task(dynamics, ["mass_scale=1.5", "damping_scale=0.7"])
    assert together.describe(0)["mass_scale"] == 1.5
    assert together.describe(0)["damping_scale"] == 0.7
    assert together.describe(0)["friction_scale"] == 1.0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("goal", "expected name=value, such as goal="),
        ("goal=", "expected name=value"),
        ("goal=left", "expected name=value"),
        ("goal=0.1,", "expected name=value"),
        ("gaol=0.1,0.1", "did you mean goal"),
        ("goal=0.1,0.2,0.3", "takes 2 numbers"),
        ("goal=nan,0", "allowed in navigation"),
        ("goal=9,9", "allowed in navigation"),
    ],
)
def test_a_task_that_cannot_be_is_refused(text, complaint):
    with pytest.raises(InputError, match=complaint) as caught:
        parse_task(get_family("navigation"), [text])
    assert "\n" not in str(caught.value)


def test_a_parameter_given_twice_is_refused():
    with pytest.raises(InputError, match="given twice"):
        parse_task(get_family("navigation"), ["goal=0,0", "goal=0.1,0.1"])


@pytest.mark.parametrize("name", FAMILIES)
def test_the_example_of_every_family_is_one_of_its_tasks(name):
    text = example_task(get_family(name))
    parse_task(get_family(name), [text])
    assert " " not in text


def test_a_task_makes_a_folder_name():
    assert folder_name(["goal=0.3,-0.2", "a=1"]) == "goal=0.3,-0.2_a=1"
    assert folder_name(["../../x=1"]) == "..__..__x=1".replace("__", "_")
    assert folder_name([]) == "nominal"


# ---- what it refuses -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("", "a command is missing: families, train"),
        ("trian navigation", "unknown command 'trian': did you mean train?"),
        ("fly", "unknown command 'fly': there are families"),
        ("--bogus", "--bogus"),
        ("train", "FAMILY is missing"),
        ("train navigatoin", "unknown task family 'navigatoin': did you mean navigation?"),
        ("train navigation --iteratons 3", "did you mean --iterations?"),
        ("train navigation --iter 3", "--iter"),
        ("train navigation --iterations", "--iterations"),
        ("train navigation --iterations 3.5", "--iterations = 3.5: must be a whole number"),
        ("train navigation --iterations 0", "iterations = 0: must be at least 1"),
        ("train navigation --horizon 0", "horizon = 0"),
        ("train navigation --meta-batch-size -2", "meta_batch_size = -2"),
        ("train navigation --episodes-per-task 0", "episodes_per_task = 0"),
        ("train navigation --adaptation-steps 0", "adaptation_steps = 0"),
        ("train navigation --checkpoint-every 0", "checkpoint_every = 0"),
        ("train navigation --sim-threads 0", "sim_threads = 0"),
        ("train navigation --seed -1", "seed = -1"),
        ("train navigation --inner-lr fast", "--inner-lr = fast: must be a number"),
        ("train navigation --inner-lr 0", "inner_lr = 0"),
        ("train navigation --inner-lr nan", "inner_lr = nan"),
        ("train navigation --max-kl -1", "max_kl = -1"),
        ("train navigation --gae-lambda 1.5", r"gae_lambda = 1.5: must be in \[0, 1\]"),
        ("train navigation --device gpu", "--device = 'gpu': allowed are auto, cpu, cuda"),
        ("train navigation --inner-loss mse", "--inner-loss = 'mse': allowed are log_prob, ratio"),
        ("train navigation --meta-batch-size 1000000000", r"need more than \d+ GB, this machine"),
        ("train navigation extra", "extra"),
        ("families navigatoin", "did you mean navigation"),
        ("evaluate run --splits tset", "--splits = 'tset': allowed are extrapolation, test, train"),
        ("evaluate run --tasks x", "--tasks = x: must be a whole number"),
        ("evaluate run --tasks 0", "--tasks = 0: must be at least 1"),
        ("evaluate run --episodes 0", "--episodes = 0: must be at least 1"),
        ("evaluate run --sim-threads 0", "--sim-threads = 0"),
        ("evaluate run --steps 0", "steps = 0"),
        ("adapt run", "--task is missing; for navigation such as: --task goal="),
        ("adapt run --task goal=9,9", r"goal = \[9.0, 9.0\]: allowed in navigation"),
        ("adapt run --task goal=0,0 --episodes 0", "episodes = 0"),
        ("record run --tasks 0", "--tasks = 0: must be at least 1"),
        ("resume run --iterations 0", "iterations = 0: run has done 1 already"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(capsys, tmp_path, arguments, complaint):
    if " run" in arguments:
        run_with(tmp_path / "run", 1)
    message = refused(capsys, *arguments.split())
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

    monkeypatch.setattr(run_folder, "replace_file", read_only)
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
    arguments = ["--iterations", 50, *TINY, "--checkpoint-every", 1, "--run", "run", "--quiet"]
    message = refused(capsys, "train", "navigation", *arguments, code=ExitCode.ERROR)
    assert "No space left on device; free some space" in message
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    reached = int(checkpoint.checkpoints(Path("run"))[0].name)
    assert reached >= 1
    assert main(["resume", "run", "--iterations", str(reached + 1), "--quiet"]) == 0


def test_updates_that_stay_non_finite_exit_with_3_and_keep_the_last_good_state(capsys, monkeypatch):
    real = MamlTrpo.update

    def poisoned(self, params, *arguments):
        new, metrics = real(self, params, *arguments)
        return {name: torch.full_like(value, torch.nan) for name, value in new.items()}, metrics

    monkeypatch.setattr(MamlTrpo, "update", poisoned)
    arguments = ["--iterations", 9, *TINY, "--run", "run", "--quiet"]
    message = refused(capsys, "train", "navigation", *arguments, code=ExitCode.NON_FINITE)
    assert "not finite" in message
    assert all(
        bool(torch.isfinite(value).all()) for value in load_policy(Path("run")).params.values()
    )


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_usage_errors_read_the_same_in_every_encoding(monkeypatch, capsys, encoding):
    with monkeypatch.context() as patch:
        patch.setattr(tyro._fmtlib, "_FORCE_UTF8_BOXES", encoding == "utf-8")
        message = refused(capsys, "train", "navigation", "--iteratons", 3)
    expected = "metarl: error: Unrecognized options: --iteratons, 3; did you mean --iterations? "
    assert message == f"{expected}(see metarl train --help)\n"


@pytest.mark.parametrize(
    ("error", "code", "complaint"),
    [
        (RunError("x: gone"), 1, "x: gone"),
        (FaultError("half of them"), 1, "half of them"),
        (InputError("k = 3: no"), 2, "k = 3: no"),
        (trainer.Interrupted("SIGTERM"), 75, "SIGTERM"),
        (OSError(errno.ENOSPC, "No space left", "f"), 1, "f: No space left; free some space"),
        (
            PermissionError(errno.EACCES, "Permission denied", "f"),
            1,
            "f: Permission denied; choose",
        ),
        (MemoryError(), 1, "out of memory.*smaller --meta-batch-size"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 1, "out of memory"),
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
    ("module", "command"),
    [
        ("imageio_ffmpeg", "pip install 'metarl-robotics[video]'"),
        ("matplotlib", "pip install 'metarl-robotics[plot]'"),
        ("stable_baselines3", "pip install 'metarl-robotics[sb3]'"),
        ("torch", "pip install 'metarl-robotics'"),
    ],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(module, command):
    assert command in missing_module(module)


def test_a_traceback_is_shown_only_when_asked_for(capsys, monkeypatch):
    monkeypatch.setenv("METARL_DEBUG", "1")
    assert main(["train", "navigatoin"]) == ExitCode.USAGE
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_outside_training_is_one_line(capsys, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "parse", interrupted)
    assert main(["families"]) == ExitCode.KILLED
    assert "Traceback" not in capsys.readouterr().err


def test_the_gl_backend_is_chosen_for_machines_without_a_display_only(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    for display, chosen, expected in (("", "", "egl"), (":0", "", None), ("", "osmesa", "osmesa")):
        for name, value in (("DISPLAY", display), ("WAYLAND_DISPLAY", ""), ("MUJOCO_GL", chosen)):
            monkeypatch.delenv(name, raising=False)
            if value:
                monkeypatch.setenv(name, value)
        main(["doctor", "--help"])
        assert os.environ.get("MUJOCO_GL") == expected
        monkeypatch.delenv("MUJOCO_GL", raising=False)
