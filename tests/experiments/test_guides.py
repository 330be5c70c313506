"""Every block of the guides runs as printed, in an empty folder and in processes of its own."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.forked_command import forked_metarl

from metarl.cli.parser import parse
from metarl.methods.baselines import baseline_recipe
from metarl.methods.families import recipe
from metarl.methods.settings import described, flag

ROOT = Path(__file__).resolve().parents[2]
GUIDES = ROOT / "experiments" / "guides"
BLOCK = re.compile(
    r"(?:^`(?P<file>\w+\.\w+)`, [^\n]*:\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
MAX_LINES_OF_CODE = 40


@dataclass(frozen=True)
class Block:
    """A printed block: a file if its name stands before it, else what a person runs."""

    kind: str
    text: str
    file: str


def blocks(guide: str) -> list[Block]:
    page = (GUIDES / guide).read_text()
    found = [Block(m["kind"], m["text"], m["file"] or "") for m in BLOCK.finditer(page)]
    assert {block.kind for block in found} <= {"sh", "python", "xml"}
    assert page.count("```") == 2 * len(found)
    return found


@pytest.fixture(scope="module")
def environment():
    """Of a shell that knows `metarl` and finds what is to be imported here."""
    own = os.environ | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'envs'}",
        "OMP_NUM_THREADS": "1",
    }
    with forked_metarl(own) as programs:
        yield own | {"PATH": f"{programs}{os.pathsep}{own['PATH']}"}


@pytest.fixture
def walk_through(environment, tmp_path):
    """Do what a guide says in `tmp_path/empty`; what each block that was run printed."""

    def walk(guide: str) -> list[str]:
        place = tmp_path / "empty"
        place.mkdir()
        shown = []
        for block in blocks(guide):
            if block.file:
                (place / block.file).write_text(block.text)
                continue
            runner = ["bash", "-e"] if block.kind == "sh" else [sys.executable, "-"]
            ran = subprocess.run(
                runner, input=block.text, cwd=place, env=environment, capture_output=True, text=True
            )
            assert ran.returncode == 0, f"{block.text}\n{ran.stdout}\n{ran.stderr}"
            shown.append(ran.stdout)
        return shown

    return walk


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("evaluate nowhere", 1, "metarl: error: nowhere: no such folder"),
        ("evaluate", 2, "metarl: error: RUN is missing"),
    ],
)
def test_a_command_that_fails_ends_its_block(environment, tmp_path, command, code, says):
    block = f"metarl {command}\ntouch later\n"
    ran = subprocess.run(
        ["bash", "-e"], input=block, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ran.returncode == code and says in ran.stderr
    assert not (tmp_path / "later").exists()


needs_metaworld = pytest.mark.skipif(
    importlib.util.find_spec("metaworld") is None, reason="needs the extra metaworld"
)
needs_sb3 = pytest.mark.skipif(
    importlib.util.find_spec("stable_baselines3") is None, reason="needs the extra sb3"
)


@pytest.mark.slow
@needs_sb3
def test_from_an_empty_folder_to_a_robot_that_adapts(walk_through, tmp_path):
    first, _, measured, _ = walk_through("own_robot.md")
    assert "boat is ready" in first
    folder = tmp_path / "empty"
    evaluation = json.loads((folder / "runs/first/evaluation/evaluation.json").read_text())
    gain, low, high = evaluation["splits"]["test"]["curve"][-1]["gain"]
    assert evaluation["splits"]["test"]["distinct_tasks"] == 20
    assert 10 < low < gain < high
    before, after = map(float, re.findall(r": return (-?[\d.]+)", measured))
    assert after > before + 10
    assert (folder / "this-boat/model.safetensors").is_file()
    begun = json.loads((folder / "runs/from-sb3/config.json").read_text())
    assert begun["config"]["method"] == "promp"
    assert (folder / "runs/from-sb3/checkpoints/000001").is_dir()


@pytest.mark.slow
@pytest.mark.render
def test_from_an_empty_folder_to_a_quadruped_with_a_memory(walk_through, tmp_path):
    first, used = walk_through("own_quadruped.md")
    assert "dog is ready" in first
    run = tmp_path / "empty/runs/first"
    evaluation = json.loads((run / "evaluation/evaluation.json").read_text())
    assert evaluation["splits"]["test"]["distinct_tasks"] == 8
    curve = evaluation["splits"]["test"]["curve"]
    assert [point["adaptation_episodes"] for point in curve] == [0, 1, 2]
    (report,) = (run / "videos").glob("*.json")
    film = json.loads(report.read_text())
    assert film["task"]["dead_hip"] == -1
    (switch,) = film["switches"]
    assert (switch["time_s"], switch["task"]["dead_hip"]) == (0.5, 1)
    (shown,) = film["shown"]
    assert shown["steps"] > switch["step"]  # the film shows it
    assert used == "False\n"


@pytest.mark.slow
def test_from_an_empty_folder_to_a_robot_that_plans(walk_through, tmp_path):
    told, *_ = walk_through("model_based.md")
    assert told == "tensor([[1., 1.]])\n"
    run = tmp_path / "empty/runs/base"
    evaluation = json.loads((run / "evaluation/evaluation.json").read_text())
    assert evaluation["splits"]["test"]["distinct_tasks"] == 2
    chosen = json.loads((tmp_path / "empty/runs/by-need/config.json").read_text())["config"]
    assert (chosen["task_choice"], chosen["representatives"]) == ("worst", 6)


def test_the_measured_robot_is_the_printed_one():
    model, robot, *_ = blocks("own_robot.md")
    printed = hashlib.sha256((robot.text + model.text).encode()).hexdigest()
    results = json.loads((ROOT / "experiments/results/own-robot.json").read_text())
    (run,) = [run for run in results["runs"] if run["config"]["family"] == "boat"]
    assert run["config"]["origin"]["sha256"] == printed
    gain, low, high = run["evaluation"]["splits"]["test"]["curve"][-1]["gain"]
    page = (GUIDES / "own_robot.md").read_text()
    assert f"+{gain:.0f} [{low:.0f}, {high:.0f}]" in page


def test_the_measured_quadruped_is_the_printed_one():
    model, robot, *_ = blocks("own_quadruped.md")
    printed = hashlib.sha256((robot.text + model.text).encode()).hexdigest()
    (run,) = json.loads((ROOT / "experiments/results/own-quadruped.json").read_text())["runs"]
    assert run["config"]["origin"]["sha256"] == printed
    page = " ".join((GUIDES / "own_quadruped.md").read_text().split())
    assert f"{run['env_steps'] / 1e6:.1f} million steps, {60 * run['hours']:.0f} minutes" in page
    for split, others in (("test", True), ("extrapolation", False)):
        first, second, *_ = run["evaluation"]["splits"][split]["curve"]
        for point in (first, second):
            assert "{:.0f} [{:.0f}, {:.0f}]".format(*point["return"]) in page
        if others:
            assert f"; {second['another_task']['return'][0]:.0f} with the memory of" in page


@pytest.mark.parametrize("guide", ["own_robot.md", "own_quadruped.md"])
def test_the_printed_robot_is_in_a_file_too(guide):
    model, robot, *_ = blocks(guide)
    for block in (model, robot):
        assert (ROOT / "experiments" / "own_robot" / block.file).read_text() == block.text


def test_the_robots_code_is_as_short_as_promised():
    model, robot, commands, adapting, *_ = blocks("own_robot.md")
    assert (model.file, robot.file) == ("boat.xml", "boat.py")
    lines = [len(block.text.splitlines()) for block in (robot, commands, adapting)]
    assert lines[0] <= 30
    assert sum(lines) <= MAX_LINES_OF_CODE
    assert ".adapt(" in adapting.text
    assert len(model.text.splitlines()) <= 20


@pytest.mark.slow
@needs_sb3
def test_two_methods_are_compared(walk_through):
    trained, compared, chances, in_python, baseline = walk_through("compare_two_methods.md")
    # Equal environment steps, as the guide says.
    steps = re.findall(r"collections = ([\d,]+) steps", trained)
    assert len(steps) == 4 and len(set(steps)) == 1
    assert re.search(r"promp +2 +0 ", compared) and re.search(r"reptile +2 +0 ", compared)
    assert re.findall(r"(\w+): ProMP beats", chances) == ["test", "extrapolation"]
    assert re.search(r"navigation +2 +0 |promp +2 +0 ", in_python)
    assert re.search(r"robust +1 +0 ", baseline)


def test_the_first_step_towards_a_gpu(walk_through):
    (found,) = walk_through("gpu.md")
    assert "engine" in found


def commands_of(guide: str) -> list[str]:
    """The indented commands of a guide, which nobody has the time to run."""
    return re.findall(r"^    metarl (.+)$", (GUIDES / guide).read_text(), re.MULTILINE)


@needs_metaworld
def test_the_experiments_of_others_begin_here(walk_through):
    (shown,) = walk_through("coming_from.md")
    assert "successful episodes" in shown


@needs_metaworld
@pytest.mark.parametrize("command", commands_of("coming_from.md"))
def test_a_command_for_those_from_elsewhere_is_one_of_ours(command):
    parse(command.split())


def test_settings_of_the_tables_are_ours():
    page = (GUIDES / "coming_from.md").read_text()
    methods = ("maml-trpo", "rl2", "teacher-student")
    known = {
        flag(name) for method in methods for name in described(recipe("quadruped-load", method))
    } | {flag(name) for name in described(baseline_recipe("quadruped-load", "robust"))}
    assert set(re.findall(r"--(?:policy|inner|outer)\.[a-z-]+", page)) <= known


def test_metaworld_counts_the_episodes_that_end_first():
    """As "Coming from ..." says: of four goals one succeeds, and the package returns 1."""
    package = pytest.importorskip("metaworld.evaluation", reason="needs the extra metaworld")
    success, *_ = package.evaluation(Still(), OneOfFourSucceeds(), num_episodes=3)
    assert success == 1.0


class Still:
    """An agent of Meta-World's protocol that does nothing."""

    def eval_action(self, observations: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.zeros((len(observations), 4))

    def reset(self, env_mask: NDArray[np.bool_]) -> None:
        del env_mask


class OneOfFourSucceeds:
    """Stands in for a vector environment of one class, with the calls that `evaluation` makes."""

    num_envs = 4

    def __init__(self) -> None:
        self.steps = np.zeros(4, dtype=int)

    def get_attr(self, name: str) -> list[object]:
        return [{"terminate_on_success": True, "task_name": "SawyerPushEnvV3"}[name]] * 4

    def call(self, *arguments: object) -> None:
        del arguments

    def reset(self) -> tuple[NDArray[np.float64], dict[str, object]]:
        self.steps[:] = 0
        return np.zeros((4, 39)), {}

    def step(self, actions: NDArray[np.float64]) -> tuple[object, ...]:
        del actions
        self.steps += 1
        succeeded = (self.steps == 10) & (np.arange(4) == 0)
        too_late = self.steps == 500
        self.steps[succeeded | too_late] = 0
        final = {"episode": {"r": np.zeros(4)}, "success": succeeded.astype(float)}
        return np.zeros((4, 39)), np.zeros(4), succeeded, too_late, {"final_info": final}


def test_every_guide_with_blocks_is_run():
    with_blocks = {path.name for path in GUIDES.glob("*.md") if blocks(path.name)}
    run_elsewhere = {"deploy.md", "many_machines.md"}  # test_deploy_guide, test_many_machines
    walked = set(re.findall(r'walk_through\(\s*"(\w+\.md)"', Path(__file__).read_text()))
    assert with_blocks == walked | run_elsewhere
