"""What the command line offers, and that it does it. The list of flags is frozen."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.tiny_runs import TINY, TINY_FLAGS, run_with

import metarl
from metarl import api
from metarl.api.training import train_config
from metarl.cli import main
from metarl.cli.parser import COMMANDS, parse
from metarl.cli.tasks import example_task, folder_name, parse_task
from metarl.errors import Interrupted
from metarl.methods.baselines import BASELINES
from metarl.methods.config import settings
from metarl.methods.families import recipe
from metarl.methods.meta import METHODS
from metarl.methods.settings import described, flag, shown
from metarl.runs.checkpoint import load_policy, load_run_config
from metarl_envs import FAMILIES, InputError, get_family

ROOT = Path(__file__).resolve().parents[3]
FLAGS = {
    "families": "",
    "methods": "",
    "train": (
        "--method --start --horizon --iterations --meta-batch-size --episodes-per-task --seed "
        "--device --engine --sim-threads --adaptation-steps --policy.hidden-sizes "
        "--inner.inner-lr --outer.max-kl --seeds --wandb --run --quiet --help-all"
    ),
    "baseline": (
        "--env-steps --worlds --start --task --horizon --seed --sim-threads --policy.hidden-sizes "
        "--outer.learning-rate --outer.clip --outer.max-kl --seeds --wandb --run "
        "--quiet --help-all"
    ),
    "diagnose": (
        "--env-steps --seeds --robust --oracle --run --tasks --episodes --sim-threads --out --quiet"
    ),
    "evaluate": (
        "--splits --tasks --episodes --steps --budgets --noise --seed --out --quiet --family "
        "--device --engine --sim-threads"
    ),
    "adapt": "--task --episodes --steps --seed --family --out --device --engine --sim-threads",
    "export": "--out",
    "record": (
        "--task --episodes --steps --seed --family --split --tasks --out --camera --device "
        "--engine --sim-threads"
    ),
    "report": (
        "--tasks --episodes --steps --budgets --videos --seed --sim-threads --out --quiet --family"
    ),
    "resume": "--env-steps --quiet --family --iterations --device --engine --sim-threads",
    "demo": "--out",
    "doctor": "",
    "benchmark": (
        "--method --worlds --meta-batch-size --horizon --rounds --json --device --engine "
        "--sim-threads"
    ),
    "check": "--out",
}
"""A flag is a promise: whoever changes this list breaks somebody's script."""


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("METARL_DEBUG", raising=False)


# ---- what it offers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", ["", *COMMANDS, *(f"train navigation --method {m}" for m in METHODS)]
)
def test_help_fits_one_screen(capsys, command):
    assert main([*command.split(), "--help"]) == 0
    lines = capsys.readouterr().out.rstrip().splitlines()
    assert sum(max(1, math.ceil(len(line) / 100)) for line in lines) <= 52


@pytest.mark.parametrize("command", COMMANDS)
def test_the_flags_are_frozen(capsys, command):
    main([command, "--help"])
    shown = capsys.readouterr().out
    found = re.findall(r"^[│ ]? *(--[a-z][a-z.-]*)", shown, re.MULTILINE)
    assert found == FLAGS[command].split()


def test_the_commands_are_frozen():
    assert list(COMMANDS) == list(FLAGS)


def test_help_and_version_need_neither_torch_nor_mujoco():
    code = (
        "import sys; from metarl.cli import main; main(['--version']); main(['--help']);"
        "main(['evaluate', '--help']);"
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
    (command,) = re.findall(r"recipe: metarl (.*)", shown)
    assert main(command.split()) == 0
    assert get_family(name).source[:20] in shown.replace("\n", " ")


def test_methods_are_a_table_with_their_papers(capsys):
    assert main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.split(r"  +", lines[0]) == ["method", "adapts", "meta-learns by", "paper"]
    rows = {cells[0]: cells[1:] for cells in (re.split(r"  +", line) for line in lines[1:])}
    assert rows["reptile"][0] == "all weights, by two large policy-gradient steps"
    assert rows["promp"][2] == "Rothfuss et al. 2019, arXiv:1810.06784"
    assert set(METHODS) <= rows.keys()
    assert set(BASELINES) <= rows.keys()
    assert lines[-1] == "more about one of them: metarl methods METHOD"


@pytest.mark.parametrize("name", {**METHODS, **BASELINES})
def test_a_method_is_described_with_the_commands_that_train_it_and_show_its_settings(capsys, name):
    method = {**METHODS, **BASELINES}[name]
    assert main(["methods", name]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{name}: {method.title} ({method.paper})\n")
    assert method.adapts in shown and method.learns in shown
    train, settings_of = re.findall(r"metarl (.*)", shown)
    assert settings_of == f"{train} --help-all"
    assert parse(train.replace("FAMILY", "navigation").split()) is not None
    assert main(settings_of.replace("FAMILY", "navigation").split()) == 0


def flags_in(shown):
    """Each flag of a help page, with all that is said of it in one line."""
    text = re.sub(r"[\s│╭╮╰╯─]+", " ", shown)
    parts = re.split(r" (--[a-z][a-z.-]*) ", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("name", METHODS)
def test_help_all_shows_every_setting_with_its_text_and_the_recipes_value(capsys, name):
    assert main(["train", "navigation", "--method", name, "--help-all"]) == 0
    found, config = flags_in(capsys.readouterr().out), recipe("navigation", name)
    for name, setting in described(config).items():
        said = found[flag(name)].replace(" ", "")
        assert len(setting.text) > 10 and setting.text.replace(" ", "") in said
        assert f"(default:{shown(setting.value)})".replace(" ", "") in said


@pytest.mark.parametrize("name", METHODS)
def test_every_setting_of_a_recipe_can_be_typed_as_it_is_shown(name):
    config = recipe("navigation", name)
    values = settings(config).items()
    typed = [word for key, value in values for word in (flag(key), *shown(value).split())]
    command = parse(["train", "navigation", "--method", name, *typed])
    assert command.settings == settings(config)
    assert train_config("navigation", name, command.settings) == config


def test_help_shows_the_recipe_of_the_family_that_stands_before_it(capsys):
    for family in ("navigation", "half-cheetah-direction"):
        assert main(["train", family, "--help"]) == 0
        said = capsys.readouterr().out
        assert f"the recipe of maml-trpo on {family}" in said
        hidden = flags_in(said)["--policy.hidden-sizes"]
        assert f"(default: {shown(recipe(family).policy.hidden_sizes)})" in hidden


# ---- training ------------------------------------------------------------------------------------


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
    first, *_ = shown.splitlines()
    run = "runs/navigation-maml-trpo-4"
    assert all(word in first for word in ("navigation", "MAML-TRPO", "seed 4", run))
    assert re.search(r"mean of the last +2: return -?\d+\.\d before adaptation, .* gain ", shown)
    assert load_run_config(Path(run)).horizon == 8
    for command in ("evaluate", "adapt", "record", "resume"):
        assert f"  metarl {command} {run}" in shown
    # The commands that it suggests work.
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
    assert (
        "  validation, iteration 4: return -20.0 before adaptation, -9.0 after, -15.0 by another "
        "task's\n  better was iteration 2: -3.0; to measure it: metarl evaluate r/best\n"
    ) in shown
    assert load_policy(Path("r/best")).metadata["iteration"] == 2


def test_a_policy_that_is_told_the_task_trains_as_any_other():
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
    # A finished run says how to go on, and that command works too.
    capsys.readouterr()
    assert main(["resume", "the run", "--family", reference]) == 0
    said, command = capsys.readouterr().out.splitlines()
    assert said == "the run has done all its 2 iterations; to go on:"
    assert shlex.split(command) == [
        "metarl", "resume", "the run", "--iterations", "4", "--family", reference,
    ]  # fmt: skip
    assert main([*shlex.split(command)[1:], "--quiet"]) == 0
    # So does what a check ends with.
    assert main(["check", reference, "--out", "check.png"]) == 0
    ready = capsys.readouterr().out.splitlines()[-1]
    assert ready == "own-navigation is ready: metarl train 'my robots/own.py:family'"


# ---- several seeds -------------------------------------------------------------------------------


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


def test_progress_says_what_is_measured_and_how_much_is_left(tmp_path, capsys):
    runs = [run_with(tmp_path / name, 1) for name in ("a", "b")]
    sizes = ["--tasks", "3", "--episodes", "2", "--sim-threads", "1", "--splits", "test"]
    assert main(["evaluate", *map(str, runs), *sizes, "--budgets", "1"]) == 0
    lines = capsys.readouterr().err.splitlines()
    # Adapting on all episodes and on the first; three points; two controls of two of them.
    assert lines[0].startswith(f"evaluate {runs[0]} (1 of 2) 1/9  adapted test  left 0:")
    assert lines[1] == f"evaluate {runs[0]} (1 of 2) 9/9  measured test  left 0:00"
    assert lines[-1] == f"evaluate {runs[1]} (2 of 2) 9/9  measured test  left 0:00"
    assert len(lines) == 4
    assert main(["evaluate", str(runs[0]), *sizes, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("num_tasks", [1, 3])
def test_progress_ends_at_its_total(tmp_path, capsys, num_tasks):
    """With one task there is no other one whose parameters could be the control."""
    run = run_with(tmp_path / "run", 1)
    sizes = ["--tasks", str(num_tasks), "--episodes", "2", "--sim-threads", "1"]
    assert main(["evaluate", str(run), *sizes]) == 0
    assert " 15/15  measured extrapolation  left 0:00" in capsys.readouterr().err


def test_several_runs_are_compared_on_the_same_tasks(tmp_path, capsys):
    runs = [run_with(tmp_path / name, 1) for name in ("a", "b")]
    other = run_with(tmp_path / "c", 1, config=dataclasses.replace(TINY, discount=0.5))
    sizes = ["--tasks", "3", "--episodes", "2", "--sim-threads", "1", "--splits", "test"]
    assert main(["evaluate", *map(str, [*runs, other]), *sizes]) == 0
    shown = capsys.readouterr().out
    # The first two differ in nothing but their seeds, the third in a setting.
    assert re.search(r"^  maml-trpo \(a\) +2 ", shown, re.MULTILINE)
    assert re.search(r"^  maml-trpo \(c\) +1 ", shown, re.MULTILINE)
    written = json.loads((tmp_path / "comparison" / "comparison.json").read_text())
    assert list(written["methods"]) == ["maml-trpo (a)", "maml-trpo (c)"]
    assert all((run / "evaluation" / "evaluation.csv").exists() for run in (*runs, other))
    longer = run_with(tmp_path / "d", 1, config=dataclasses.replace(TINY, horizon=9))
    assert main(["evaluate", str(runs[0]), str(longer), *sizes]) == 2
    message = "families or horizons differ: navigation (8 steps), navigation (9 steps)"
    assert message in capsys.readouterr().err


def test_budgets_make_a_curve_over_episodes(tmp_path, capsys):
    run = run_with(tmp_path / "run", 1)
    sizes = ["--tasks", "2", "--episodes", "3", "--sim-threads", "1", "--splits", "test"]
    assert main(["evaluate", str(run), *sizes, "--budgets", "1", "3"]) == 0
    rows = re.findall(r"^ +(\d) +(\d) +-", capsys.readouterr().out, re.MULTILINE)
    points, controls = rows[:3], rows[3:]
    assert points == [("0", "0"), *controls] == [("0", "0"), ("1", "1"), ("1", "3")]
    assert main(["evaluate", str(run), *sizes, "--budgets", "4"]) == 2


def test_noise_is_measured_where_it_is_asked_for_and_the_results_say_so(tmp_path, capsys):
    run = run_with(tmp_path / "run", 1)
    sizes = ["--tasks", "2", "--episodes", "3", "--sim-threads", "1", "--splits", "test"]
    found = []
    for flags, words, folder in (
        ([], "mean action", "evaluation"),
        (["--noise"], "with action noise", "evaluation-2"),
    ):
        assert main(["evaluate", str(run), *sizes, *flags]) == 0
        text = f"policy of iteration 1 of 10; measured by: {words}"
        assert text in capsys.readouterr().out
        found.append(json.loads((run / folder / "evaluation.json").read_text()))
        assert found[-1]["measured_by"] == words
    before = [data["splits"]["test"]["curve"][0]["return"] for data in found]
    assert before[0] != before[1]


@pytest.mark.render
def test_record_writes_into_the_runs_videos(tmp_path, capsys):
    run = run_with(tmp_path / "run", 1)
    small = ["--episodes", "2", "--sim-threads", "1"]
    for goal in ("0.3,-0.2", "0.1,0.1"):
        assert main(["record", str(run), "--task", f"goal={goal}", *small]) == 0
    written = [Path(line.split()[1]) for line in capsys.readouterr().out.splitlines()]
    assert len(set(written)) == len(written) > 2  # the second task leaves the first one's files
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


def test_the_gl_backend_is_chosen_for_machines_without_a_display_only(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("ctypes.CDLL", lambda name: None)  # as if every GL library were there
    for display, chosen, expected in (("", "", "egl"), (":0", "", None), ("", "osmesa", "osmesa")):
        for name, value in (("DISPLAY", display), ("WAYLAND_DISPLAY", ""), ("MUJOCO_GL", chosen)):
            monkeypatch.delenv(name, raising=False)
            if value:
                monkeypatch.setenv(name, value)
        main(["doctor", "--help"])
        assert os.environ.get("MUJOCO_GL") == expected
        monkeypatch.delenv("MUJOCO_GL", raising=False)
