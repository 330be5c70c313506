"""`metarl train`: settings, printed commands, several seeds."""

from __future__ import annotations

import dataclasses
import math
import re
import shlex
from pathlib import Path

import pytest
from support.tiny_runs import TINY_FLAGS

from metarl import api
from metarl.api.training import train_config
from metarl.cli import main
from metarl.cli.parser import parse
from metarl.errors import Interrupted
from metarl.methods.families import recipe
from metarl.methods.setup import device_of
from metarl.runs.checkpoint import load_policy, load_run_config


def configured(*words):
    """The configuration that a command line of `metarl train` trains."""
    command = parse(["train", *words])
    return train_config(command.family, command.method, command.settings)


def test_what_is_given_changes_the_recipe_and_nothing_else():
    words = "navigation --iterations 7 --seed 3 --inner.inner-lr 0.5 --inner.first-order True"
    config = configured(*words.split(), "--outer.max-kl", "0.02", "--device", "cpu")
    base = recipe("navigation")
    assert config == dataclasses.replace(
        base,
        iterations=7,
        seed=3,
        device="cpu",
        inner=dataclasses.replace(base.inner, inner_lr=0.5, first_order=True),
        outer=dataclasses.replace(base.outer, max_kl=0.02),
    )
    assert configured("navigation") == base
    assert configured("navigation", "--method", "promp") == recipe("navigation", "promp")


def test_flags_may_stand_before_the_family_and_the_last_one_counts():
    words = "--outer.clip 0.1 --policy.hidden-sizes 7 5 --policy.activation tanh --method=promp"
    config = configured(*words.split(), "navigation", "--outer.clip", "0.2")
    base = recipe("navigation", "promp")
    assert config.outer == dataclasses.replace(base.outer, clip=0.2)
    expected = dataclasses.replace(base.policy, hidden_sizes=(7, 5), activation="tanh")
    assert config.policy == expected
    assert (config.family, config.method) == ("navigation", "promp")
    assert configured("--policy.hidden-sizes", "--", "navigation").policy.hidden_sizes == ()


def test_a_wider_start_scales_the_inner_step_unless_that_is_given_too():
    family = "half-cheetah-velocity"
    assert configured(family, "--policy.init-std", "3").inner.inner_lr == pytest.approx(0.9)
    typed = (family, "--policy.init-std", "3", "--inner.inner-lr", "0.1")
    assert configured(*typed).inner.inner_lr == 0.1


def test_a_run_under_another_method_trains_resumes_and_is_used_as_any_other(capsys):
    arguments = ["train", "navigation", "--method", "promp", "--iterations", "2", *TINY_FLAGS]
    assert main([*arguments, "--outer.clip", "0.2", "--run", "r"]) == 0
    shown = capsys.readouterr().out
    assert "navigation | ProMP | " in shown.splitlines()[0]
    assert load_run_config(Path("r")).outer.clip == 0.2
    assert "meta-trained with ProMP" in Path("r/checkpoints/000002/README.md").read_text()
    assert main(["resume", "r", "--iterations", "3"]) == 0
    assert "navigation | ProMP | " in capsys.readouterr().out
    sizes = ["--episodes", "2", "--sim-threads", "1"]
    assert main(["adapt", "r", "--task", "goal=0.3,-0.2", *sizes]) == 0
    assert main(["evaluate", "r", "--tasks", "2", *sizes]) == 0


def test_training_ends_with_what_was_gained_and_the_next_commands(capsys):
    assert main(["train", "navigation", "--iterations", "2", *TINY_FLAGS, "--seed", "4"]) == 0
    shown = capsys.readouterr().out
    run = "runs/navigation-maml-trpo-4"
    first, second, *_ = shown.splitlines()
    assert first == (
        f"navigation | MAML-TRPO | {device_of(recipe('navigation'))} | 1 simulator thread | "
        f"seed 4 | {run}"
    )
    sizes, steps = re.fullmatch(r"2 iterations of (.*) collections = (.*) steps", second).groups()
    assert math.prod(map(int, re.findall(r"\d+", sizes))) * 2 == int(steps.replace(",", ""))
    assert re.search(r"mean of the last +2: return -?\d+\.\d before adaptation, .* gain ", shown)
    assert load_run_config(Path(run)).horizon == 8
    for command in ("evaluate", "adapt", "record", "resume"):
        assert f"  metarl {command} {run}" in shown
    (resume,) = re.findall(r"metarl (resume .*)", shown)
    assert main([*resume.split(), "--quiet"]) == 0
    (adapt,) = re.findall(r"metarl (adapt .*)", shown)
    assert main([*adapt.split(), "--episodes", "3", "--sim-threads", "1"]) == 0


def test_training_ends_with_what_validation_tasks_returned_and_where_a_better_policy_is(
    capsys, monkeypatch
):
    """The second evaluation finds less than the first one."""
    measured = iter([-3.0, -9.0])

    def measure(self, params):
        found = {"eval/return_pre": -20.0, "eval/return_post": next(measured)}
        return found | {"eval/return_other": -15.04, "eval/standard_error": 0.5}

    monkeypatch.setattr("metarl.training.validation.Validation.measure", measure)
    settings = ["--evaluate-every", "2", "--iterations", "4", "--run", "r"]
    assert main(["train", "navigation", *TINY_FLAGS, *settings]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"validation, iteration 4: .*-20\.0 .*-9\.0 .*-15\.0 .*another task", shown)
    assert re.search(r"iteration 2 .*-3\.0; .*: metarl evaluate r/best\n", shown)
    assert load_policy(Path("r/best")).metadata["iteration"] == 2


def test_a_task_conditioned_policy_trains_as_any_other():
    arguments = ["train", "navigation", "--iterations", "1", *TINY_FLAGS, "--run", "r"]
    assert main([*arguments, "--observe-task", "True", "--quiet"]) == 0
    assert load_policy(Path("r")).policy.observation_size == 4
    assert main(["resume", "r", "--iterations", "2", "--quiet"]) == 0


def test_a_second_run_gets_a_folder_of_its_own(capsys):
    for name in (f"navigation-maml-trpo-0{more}" for more in ("", "-2", "-3")):
        assert main(["train", "navigation", "--iterations", "1", *TINY_FLAGS, "--quiet"]) == 0
        assert capsys.readouterr().out == f"runs/{name}\n"


OWN = '''"""A family in a file whose path needs quotes."""
import dataclasses
from metarl_envs import get_family
family = dataclasses.replace(get_family("navigation"), name="own-navigation")
'''


def test_every_command_that_is_printed_works_as_it_is(capsys, tmp_path):
    """Run folder and family file have spaces in their names."""
    Path("my robots").mkdir()
    Path("my robots/own.py").write_text(OWN)
    reference = "my robots/own.py:family"
    arguments = ["train", reference, *TINY_FLAGS, "--iterations", "1", "--run", "the run"]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    printed = [shlex.split(line) for line in shown.splitlines() if line.startswith("  metarl ")]
    assert [words[1] for words in printed] == ["evaluate", "adapt", "record", "resume"]
    assert all(words[2:5] == ["the run", "--family", reference] for words in printed[:3])
    small = ["--episodes", "2", "--sim-threads", "1"]
    assert main([*printed[0][1:], "--tasks", "2", *small]) == 0
    assert main([*printed[1][1:], *small]) == 0
    assert main([*printed[3][1:], "--quiet"]) == 0
    # The command that a finished run prints works, too.
    capsys.readouterr()
    assert main(["resume", "the run", "--family", reference]) == 0
    complete, command = capsys.readouterr().out.splitlines()
    assert complete.startswith("the run is complete (2 iterations)")
    assert shlex.split(command) == [
        "metarl", "resume", "the run", "--iterations", "4", "--family", reference,
    ]  # fmt: skip
    assert main([*shlex.split(command)[1:], "--quiet"]) == 0
    assert main(["check", reference, "--out", "check.png"]) == 0
    ready = capsys.readouterr().out.splitlines()[-1]
    assert ready == "own-navigation is ready: metarl train 'my robots/own.py:family'"


def test_several_seeds_are_runs_like_any_other_and_are_measured_together(capsys):
    arguments = ["train", "navigation", *TINY_FLAGS, "--iterations", "1"]
    assert main([*arguments, "--seeds", "0", "1"]) == 0
    shown = capsys.readouterr().out
    runs = [f"runs/navigation-maml-trpo-{seed}" for seed in (0, 1)]
    assert shown.splitlines()[-1] == f"  metarl evaluate {' '.join(runs)}"
    assert main([*arguments, "--seed", "1", "--run", "alone", "--quiet"]) == 0
    for part in ("sha256", "iteration"):
        assert (
            load_policy(Path(runs[1])).metadata[part] == load_policy(Path("alone")).metadata[part]
        )
    assert main([*arguments, "--seeds", "4", "7", "--run", "x/y", "--quiet"]) == 0
    assert sorted(path.name for path in Path("x").iterdir()) == ["y-4", "y-7"]
    capsys.readouterr()
    for wrong in (["--seeds", "1", "--seed", "1"], ["--seeds", "1", "1"]):
        assert main([*arguments, *wrong]) == 2
        assert "--seed" in capsys.readouterr().err


def test_an_interrupted_series_says_what_is_done_and_how_to_go_on(capsys, monkeypatch):
    real, trained = api.training.train_loop, []

    def stopped_in_the_second(config, state, run, **options):
        trained.append(config.seed)
        if len(trained) == 2:
            raise Interrupted("SIGINT: stopped after saving x")
        return real(config, state, run, **options)

    monkeypatch.setattr(api.training, "train_loop", stopped_in_the_second)
    arguments = ["train", "navigation", *TINY_FLAGS, "--iterations", "1", "--quiet"]
    assert main([*arguments, "--seeds", "0", "1", "2", "3"]) == 75
    assert capsys.readouterr().err.splitlines() == [
        "metarl: interrupted: SIGINT: stopped after saving x",
        "metarl: continue with: metarl resume runs/navigation-maml-trpo-1",
        "metarl: finished: runs/navigation-maml-trpo-0",
        "metarl: not begun: the same command with --seeds 2 3",
    ]
