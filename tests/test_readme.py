"""The README's Python runs as printed, and its commands, targets and files exist."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from metarl.cli.parser import COMMANDS
from metarl_envs import FAMILIES, BatchEnv

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BUNDLED = ROOT / "metarl" / "assets" / "half-cheetah-direction"


def python_block(containing):
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (block,) = [block for block in blocks if containing in block]
    return block


def test_the_six_lines_adapt_a_policy_and_act():
    code = python_block("metarl.load").replace("runs/demo", str(BUNDLED))
    names = {}
    exec(code.replace("episodes=20", "episodes=3"), names)
    assert names["env"].unwrapped.get_task() == {"direction": -1.0}
    assert names["action"].shape == (6,)
    assert np.isfinite(names["action"]).all()
    assert names["adapted"].adapted["episodes"] == 3


def test_the_family_of_your_own_runs_and_its_parameter_reaches_the_model():
    names = {}
    exec(python_block("half-cheetah-payload"), names)
    family = names["payload"]
    env = BatchEnv(family, 2, 1)
    env.set_tasks(family.sample_tasks(2, torch.Generator().manual_seed(0), "extrapolation"))
    model, _ = env.engine.host_world(0)
    nominal = family.robot.load_model()
    scale = env.tasks.values["torso_mass_scale"][0].item()
    assert scale > 2
    assert model.body_mass[1] == pytest.approx(scale * nominal.body_mass[1])
    assert model.body_mass[2] == nominal.body_mass[2]


def test_every_shipped_family_is_in_the_readme():
    table = README[README.index("## Task families") : README.index("Each has three splits")]
    for name in FAMILIES:
        robot, _, variation = name.rpartition("-")
        assert f"`{name}`" in table or (f"`{robot}-" in table and f"`-{variation}`" in table)


def test_commands_and_files_that_the_readme_names_exist():
    for name in re.findall(r"`metarl (\w+)", README):
        assert name in COMMANDS, name
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\S+)", README, re.MULTILINE):
        assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), target


def test_the_evidence_is_what_was_measured():
    assert (ROOT / "experiments" / "results" / "evidence.md").read_text().strip() in README
