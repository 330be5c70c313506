"""The README is short, its code runs as printed, and what the pages name and measured is there."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_memory import tiny_memory

from experiments import demo as experiment
from experiments.robots import STUDIES
from metarl.cli import main
from metarl.cli.parser import COMMANDS
from metarl.methods.meta import METHODS
from metarl.runs.checkpoint import save_policy
from metarl_envs import FAMILIES, BatchEnv, load_family

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
RESULTS = ROOT / "experiments" / "results"
BUNDLED = ROOT / "metarl" / "assets" / "half-cheetah-direction"
MAX_WORDS = 1000
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "videos" / "README.md",
    *sorted((ROOT / "experiments").glob("*/*.md")),
]
EXAMPLES = {
    "metarl/adaptation/sign.py",
    "tests/metarl/adaptation/test_sign.py",
    "metarl/policies/trace.py",
    "tests/metarl/policies/test_trace.py",
}
"""Files that CONTRIBUTING.md shows how to write."""
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def python_block(containing):
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (block,) = [block for block in blocks if containing in block]
    return block


def section(title):
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def first_column(title):
    """Names in the first column of a section's table."""
    rows = re.findall(r"^\| (`.*?) \|", section(title), re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def minus(text):
    return text.replace("-", "−")


def interval(values, sign=""):
    return minus("**{:{s}.0f}** [{:.0f}, {:.0f}]".format(*values, s=sign))


def share(values, bold=""):
    return "{b}{:.0f} %{b} [{:.0f}, {:.0f}]".format(*(100 * value for value in values), b=bold)


def read(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


def curve(evaluation, split):
    return evaluation["splits"][split]["curve"]


def test_it_fits_on_two_screens():
    assert len(README.split()) <= MAX_WORDS


def test_the_six_lines_adapt_a_policy_and_act(tmp_path):
    policy = save_policy(tmp_path / "demo", tiny_memory(experiment.FAMILY, horizon=50))
    code = python_block("metarl.load").replace("runs/demo", str(policy))
    names = {}
    exec(code.replace("episodes=1", "episodes=3"), names)
    assert names["env"].unwrapped.get_task()["friction"] == 0.1
    assert names["action"].shape == (1,)
    assert np.isfinite(names["action"]).all()
    assert names["adapted"].adapted["episodes"] == 3


@pytest.fixture
def own_robot(tmp_path, monkeypatch):
    """`my_arm.py:family`, the printed file, in a folder that has the robot's model."""
    model = Path("experiments/own_robot/arm.xml")
    (tmp_path / model).parent.mkdir(parents=True)
    shutil.copy(ROOT / model, tmp_path / model)
    (tmp_path / "my_arm.py").write_text(python_block("mujoco_robot"))
    monkeypatch.chdir(tmp_path)
    return "my_arm.py:family"


def test_your_robot_has_eight_lines_and_its_parameters_reach_the_model(own_robot):
    assert sum(bool(line) for line in python_block("mujoco_robot").splitlines()) == 8
    family = load_family(own_robot)
    env = BatchEnv(family, 2, 1)
    env.set_tasks(family.sample_tasks(2, torch.Generator().manual_seed(0), "extrapolation"))
    model, _ = env.engine.host_world(0)
    nominal = family.robot.load_model()
    task = {name: values[0].item() for name, values in env.tasks.values.items()}
    hand, forearm = (nominal.body(name).id for name in ("hand", "forearm"))
    assert 3.0 < task["hand_mass"] <= 4.0
    assert model.body_mass[hand] == pytest.approx(task["hand_mass"] * nominal.body_mass[hand])
    assert model.body_mass[forearm] == nominal.body_mass[forearm]
    assert model.actuator_gear[:, 0] == pytest.approx(
        task["motor_gear"] * nominal.actuator_gear[:, 0]
    )
    observations = env.reset(torch.Generator())
    assert observations[0, -1].item() == pytest.approx(task["height"])


def test_your_robot_is_checked_and_trained_as_printed(own_robot, capsys):
    commands = re.findall(r"^metarl (\w+) (my_arm\S+)(.*)$", README, re.MULTILINE)
    check, train = [[name, file, *rest.split("#")[0].split()] for name, file, rest in commands]
    assert (check[0], train[0]) == ("check", "train")
    assert main(check) == 0
    assert "arm is ready" in capsys.readouterr().out
    sizes = ["--iterations", "1", "--meta-batch-size", "2", "--episodes-per-task", "2"]
    assert main([*train, *sizes, "--run", "run", "--quiet"]) == 0
    assert json.loads(Path("run/config.json").read_text())["config"]["method"] == "meta-sgd"


def test_every_shipped_family_and_method_is_in_its_table_and_no_other():
    assert sorted(first_column("Task families")) == sorted(FAMILIES)
    names = [name for name in first_column("Methods") if name != "--method"]
    assert sorted(names) == sorted(METHODS)


@each_page
def test_links_files_and_commands_of_a_page_exist(page):
    text = page.read_text()
    for link in re.findall(r"\]\(([^)#\s]+)", text):
        assert "://" in link or (page.parent / link).exists(), link
    for name in re.findall(r"`((?:metarl|tests|envs|experiments|videos)/[\w/.-]+)`", text):
        assert name in EXAMPLES or (ROOT / name).exists(), name
    for name in re.findall(r"(?:`|^)metarl (\w+)", text, re.MULTILINE):
        assert name in COMMANDS, name
    for name in re.findall(r"python -m (experiments(?:\.\w+)+)", text):
        assert (ROOT / name.replace(".", "/")).with_suffix(".py").is_file(), name
    for name in re.findall(r"pytest (tests/[\w/.]+)", text):
        assert (ROOT / name).exists(), name
    makefile = (ROOT / "Makefile").read_text()
    shell = "".join(re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    for target in re.findall(r"^make (\S+)", shell, re.MULTILINE):
        assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), target


def test_the_bundled_policies_are_those_that_were_measured():
    text = (ROOT / "metarl" / "assets" / "README.md").read_text()
    for name, folder in (
        ("bundled-policy", BUNDLED),
        ("bundled-quadruped", BUNDLED.with_name("quadruped-load-teacher-student")),
        ("bundled-quadrotor", BUNDLED.with_name("quadrotor-wind-teacher-student")),
    ):
        measured, config = read(name), json.loads((folder / "config.json").read_text())
        assert measured["policy"]["sha256"] == config["sha256"]
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{folder.name}` |")]
        assert f"| {measured['policy']['env_steps'] / 1e6:.1f} M |" in row
        assert f"seed {config['config']['seed']} |" in row
        command = re.findall(r"`(metarl train [^`]+)`", row)[0].split()
        assert all(set(command) <= set(line) for line in measured.get("commands", []))
        first, *_, last = points = curve(measured, "train")
        control = next(point for point in points if point["another_task"])["another_task"]
        for value in (last["return"], control["return"]):
            assert minus(f"{value[0]:.0f}") in row
        assert minus(f"{first['return'][0]:.{0 if first['return'][0] > 100 else 1}f}") in row


@pytest.mark.parametrize(
    ("method", "said", "study"),
    [
        ("varibad", "VariBAD {} %", "other-memories"),
        ("pearl", "PEARL {} % on payload-velocity", "other-memories"),
        ("rl2", "RL² {} % on `navigation`", "navigation"),
    ],
)
def test_shares_of_the_other_memories_are_what_was_measured(method, said, study):
    closed = read(f"in-episode-{study}")["gap"]["test"]["closed"][method]
    (second,) = [p["share"][0] for p in closed if p["adaptation_episodes"] == 1]
    assert said.format(round(100 * second)) in README


def test_the_other_results_are_what_was_measured():
    results = section("Results")
    (navigation,) = read("navigation")["runs"]
    before, *after = curve(navigation["evaluation"], "test")
    returns = ", ".join(f"{point['return'][0]:.1f}" for point in after)
    assert minus(f"{before['return'][0]:.1f} → **{returns}**") in results
    assert minus(f"control {after[-1]['another_task']['return'][0]:.1f}.") in results

    rows = read("model-based-half-cheetah-crippled")["rows"]

    def on_thighs(row, ends=True):
        mean, low, high = rows[row]["extrapolation"]["mean"]
        return f"{mean:.0f}" + f" [{low:.0f}, {high:.0f}]" * ends

    control = on_thighs("grbal, another's", False)
    grbal, brackets = on_thighs("grbal").split(" ", 1)
    assert (
        f"GrBAL returns **{grbal}** {brackets}, never adapting {on_thighs('plain', False)},"
        in results
    )
    assert f"control {control}," in results
    assert (
        f"robust {on_thighs('robust')}, teacher-student {on_thighs('teacher-student', False)}"
        in results
    )
    assert max(rows["grbal"]["test"]["steps"]) == 48_000 and "seeds of 48,000 steps:" in results
    assert f"after {max(rows['teacher-student']['test']['steps']) / 1e6:.1f} M;" in results
    robust, grbal = (rows[row]["test"]["mean"][0] for row in ("robust", "grbal"))
    assert ("on shins it loses" in results) is (grbal < robust)

    gap = read("in-episode-payload-velocity")["gap"]

    def closed(split, method, episodes):
        points = gap[split]["closed"][method]
        return next(p for p in points if p["adaptation_episodes"] == episodes)

    assert share(closed("test", "teacher-student", 0)["share"], "**") in results
    assert share(closed("test", "teacher-student", 1)["share"]) in results
    beyond = closed("extrapolation", "teacher-student", 5)
    assert share(beyond["share"], "**") in results
    assert f"the control {100 * beyond['share_of_another_task'][0]:.0f} %" in results
    slow = [100 * closed(split, "meta-sgd", 5)["share"][0] for split in ("test", "extrapolation")]
    assert "after five: {:.0f} %, {:.0f} %.".format(*slow) in results

    (boat,) = [run for run in read("own-robot")["runs"] if run["config"]["family"] == "boat"]
    before, after = curve(boat["evaluation"], "test")
    assert f"gain {interval(after['gain'], '+')}" in results
    said = f"return {before['return'][0]:.0f} → {after['return'][0]:.0f}; "
    assert minus(f"{said}control {after['another_task']['return'][0]:.0f}.") in results

    reach, *unsure = (
        {
            method: points[-1]
            for method, points in read(f"metaworld-{name}")["splits"]["test"]["curves"].items()
        }
        for name in ("reach", "push", "pick-place")
    )
    assert {point["adaptation_episodes"] for point in reach.values()} == {10}
    assert f"{share(reach['meta-sgd']['success'], '**')} after ten episodes" in results
    returns = reach["meta-sgd"]["mean"]["crossed"], reach["meta-sgd"]["controls"]["another_task"]
    assert "(return {:.0f}, control {:.0f})".format(*(own[0] for own in returns)) in results
    steps = [n for n in read("metaworld-reach")["env_steps"].values() if n > 1e6]
    assert f"three seeds of {min(steps) / 1e6:.1f} to {max(steps) / 1e6:.1f} M steps" in results
    assert f"ProMP {100 * reach['promp']['success'][0]:.0f} %" in results
    memories = ("teacher-student", "rl2", "pearl")
    best = max(reach[method]["success"][0] for method in memories)
    assert f"memories {100 * best:.0f} % at most" in results
    for method in (*memories, "promp", "meta-sgd"):
        for found in unsure:  # "no gain is sure"
            assert found[method]["controls"]["gain_over_another_task"][1] < 0

    models = re.match(r"\d+ of \d+", (RESULTS / "public_models.md").read_text())
    assert models and f"[{models[0]} public robot models]" in results


def test_shares_of_the_robots_are_what_was_measured():
    tests = [
        read(f"robots-{name}")["gap"]["test"]
        for name in STUDIES
        if (RESULTS / f"robots-{name}.json").exists()
    ]
    gaps = [found["closed"] for found in tests if found["gap"][1] > 0]

    def points(method):
        return [{p["adaptation_episodes"]: p for p in gap[method]} for gap in gaps]

    def between(shares):
        return minus(f"{100 * min(shares):.0f} to {100 * max(shares):.0f} %")

    student, stack = points("teacher-student"), points("frame-stack")
    reached = between([max(found[n]["share"][0] for n in (0, 1)) for found in student])
    stacked = between([found[0]["share"][0] for found in stack])
    controls = between([found[5]["share_of_another_task"][0] for found in student])
    words = {6: "six", 7: "seven", 8: "eight"}
    results = section("Results")
    assert f"In {words[len(gaps)]} of {words[len(tests)]} families, three seeds" in results
    assert f"closes **{reached}** by its second episode" in results
    assert f"frame stacks {stacked}, controls {controls}." in results


def test_the_campaigns_found_no_fault_in_as_many_attempts_as_the_readme_says():
    kills, disks, inputs = read("faults-kills"), read("faults-disks"), read("fuzz")
    assert f"{kills['kills']:,} `kill -9`s and {disks['full_disk']['moments']} full" in README
    assert f"{inputs['inputs']:,} fuzzed inputs" in README
    assert not kills["faults"] and not disks["faults"] and not read("faults-processes")["faults"]
    assert not any(kind["faults"] for kind in inputs["kinds"].values())
    assert not any(kind["faults"] for kind in read("bit-flips")["kinds"].values())
