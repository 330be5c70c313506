"""The experiment of models that adapt, from training to page, with trainings of no length."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_runs import in_this_process
from torch import Generator

from experiments import actuator_factors, model_based
from experiments.model_based import Broken, Options
from experiments.model_measures import Change, among_others, in_order, lived, of_another, unadapted
from experiments.perfect_model import FAMILIES as PARTS
from metarl.cli.parser import parse
from metarl.methods.families import recipe
from metarl.methods.setup import family_of
from metarl.policies.params import expand
from metarl.policies.planning import PlanningPolicy
from metarl.runs.checkpoint import load_policy
from metarl_envs import get_family

TINY = Broken(
    Change("dead_actuator", 4.0, 15),
    planned=(
        "--iterations 2 --meta-batch-size 2 --horizon 40 --evaluate-every 0 --outer.steps 2 "
        "--policy.candidates 8 --policy.rounds 1 --policy.plan-steps 2 --policy.hidden-sizes 8 "
        "--policy.window 3"
    ),
    robust="--env-steps 80 --worlds 2 --horizon 40 --outer.minibatches 1",
    taught="--iterations 2 --meta-batch-size 2 --horizon 40 --evaluate-every 0",
    adaptive=model_based.ADAPTIVE,
)
FAMILY = "half-cheetah-crippled"
MODEL_FREE = ("robust", "teacher-student")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model_based")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_based, "FAMILIES", {FAMILY: TINY})
        patch.setattr("experiments.training_runs.metarl", in_this_process)
        options = Options(
            names=(FAMILY,),
            tasks=4,
            seeds=(0, 1),
            jobs=1,  # one process reads one command line at a time
            runs=folder / "runs",
            out=folder / "results",
        )
        model_based.main(options)
        patch.setattr("experiments.training_runs.metarl", None)  # nothing is left to run
        model_based.train(model_based.commands(options, FAMILY), options.jobs)
    return folder


def test_it_measures_every_row_on_both_splits(results):
    found = json.loads((results / "results" / f"model-based-{FAMILY}.json").read_text())
    assert set(found["rows"]) == set(model_based.ROWS)
    for row, one in found["rows"].items():
        for split in ("test", "extrapolation"):
            assert len(one[split]["runs"]) == 2 and len(one[split]["mean"]) == 3
            assert ("errors" in one[split]) is (row not in (*MODEL_FREE, *model_based.OTHERS))
        assert ("hz" in one) is (row not in (*MODEL_FREE, *model_based.OTHERS))
        assert len(one.get("recovery", ())) == (0 if row in model_based.OTHERS else 2)
    assert found["rows"]["grbal"]["test"]["steps"] == [160, 160]
    errors = found["rows"]["grbal"]["extrapolation"]["errors"]
    assert 0 < errors[0] < errors[2] and all(math.isfinite(e) for e in errors)
    gains = found["gains"]["extrapolation"]["grbal"]
    assert (
        found["gains"]["test"]["rebal"]["grbal"][0] == -found["gains"]["test"]["grbal"]["rebal"][0]
    )
    difference = [
        a - b
        for a, b in zip(
            found["rows"]["grbal"]["extrapolation"]["runs"],
            found["rows"]["plain"]["extrapolation"]["runs"],
            strict=True,
        )
    ]
    assert gains["plain"][0] == pytest.approx(sum(difference) / 2)


def test_the_page_has_a_row_for_each(results):
    page = (results / "results" / "model_based.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0][2:] for line in rows[1:]] == list(model_based.ROWS)
    assert "| 160 |" in page and "nan" not in page
    assert f"## {FAMILY}, 2 seeds, 4 tasks of each kind\n" in page


def test_the_only_task_of_a_split_has_robots_of_other_tasks_beside_it():
    ants = get_family("ant-crippled")
    same = ants.sample_tasks(6, torch.Generator().manual_seed(0), "extrapolation")
    legs = among_others(ants, same).values["dead_leg"].flatten()
    assert legs[6:].tolist() == [3] * 6
    assert 3 not in legs.roll(6)[6:]  # whose last steps the control adapts to
    thighs = get_family(FAMILY).sample_tasks(6, torch.Generator().manual_seed(0), "extrapolation")
    assert among_others(get_family(FAMILY), thighs) is thighs


def test_without_adaptation_the_model_is_the_start_and_all_else_stays(results):
    saved = load_policy(results / "runs" / f"{FAMILY}-grbal-0")
    bare = unadapted(saved)
    assert bare.policy.config == dataclasses.replace(saved.policy.config, adapts="nothing")
    assert bare.params is saved.params
    assert isinstance(saved.policy, PlanningPolicy) and isinstance(bare.policy, PlanningPolicy)
    assert bare.policy.family is saved.policy.family is not None


def test_the_control_adapts_to_the_last_steps_of_the_robot_half_of_them_further(results):
    saved = load_policy(results / "runs" / f"{FAMILY}-grbal-0")
    policy, other = saved.policy, of_another(saved).policy
    assert isinstance(policy, PlanningPolicy) and isinstance(other, PlanningPolicy)
    params = expand(saved.params, 1)
    past = torch.randn(policy.begin(params, 4)["past"].shape, generator=Generator().manual_seed(0))
    past[..., -1] = 1
    with torch.no_grad():
        found, own = (
            one.dynamics.adapted(params, one.steps_of(params, past)) for one in (other, policy)
        )
    for name, value in own.items():
        torch.testing.assert_close(found[name], value[:, [2, 3, 0, 1]])
    assert not torch.allclose(found["gain"], own["gain"])
    tasks = family_of(saved.config).sample_tasks(4, Generator().manual_seed(1), "extrapolation")
    assert not torch.equal(
        *(lived(one, in_order(tasks), 0).actions for one in (saved, of_another(saved)))
    )
    family = get_family(FAMILY)
    tasks = in_order(family.sample_tasks(10, Generator().manual_seed(0), "train"))
    dead = tasks.values["dead_actuator"]
    assert dead.tolist() == sorted(dead.tolist()) and (dead != dead.roll(5)).all()


def test_factors_of_every_robot_are_means_over_the_runs(results, capsys):
    runs = tuple(results / "runs" / f"{FAMILY}-grbal-{seed}" for seed in (0, 1))
    actuator_factors.main(actuator_factors.Options(runs, episodes=2, out=results / "factors"))
    found = json.loads((results / "factors" / f"actuator-factors-{FAMILY}.json").read_text())
    means = {float(robot): row for robot, row in found["factors"].items()}
    assert list(means) == [-1, 1, 2, 4, 5, 0, 3]
    assert all(len(row) == 6 and row != means[-1] for robot, row in means.items() if robot >= 0)
    each = [actuator_factors.factors(load_policy(run), 2)[3.0].tolist() for run in runs]
    assert means[3] == pytest.approx(np.mean(each, axis=0), rel=1e-5)
    assert f"| 3 | {means[3][0]:.2f} |" in capsys.readouterr().out
    for method in ("robust", "rebal"):
        with pytest.raises(SystemExit, match=f"{method}: give runs of grbal"):
            run = results / "runs" / f"{FAMILY}-{method}-0"
            actuator_factors.main(actuator_factors.Options((run,)))


@pytest.mark.parametrize("name", model_based.FAMILIES)
def test_the_settings_are_within_the_budget_and_parse(name):
    broken, family = model_based.FAMILIES[name], get_family(name)
    commands = model_based.commands(Options(), name)
    assert len(commands) == 5 * (len(broken.adaptive) + 2 + (broken.taught is not None))
    for command in commands.values():
        parse(command)
    given = dict(re.findall(r"--(iterations|meta-batch-size) (\d+)", broken.planned))
    tasks = int(given.get("meta-batch-size", recipe(name, "grbal").meta_batch_size))
    steps = int(given["iterations"]) * tasks * family.horizon
    assert steps <= 300_000 and f"--env-steps {steps} " in broken.robust
    assert broken.change is None or broken.change.at < family.horizon


RESULTS = Path(model_based.__file__).parent / "results"
OTHER = "grbal, another's"
GUIDE = RESULTS.parent / "guides" / "model_based.md"


@pytest.mark.parametrize("name", ["half-cheetah-crippled", "ant-crippled"])
def test_the_guide_gives_the_factors_that_were_measured(name):
    found = json.loads((RESULTS / f"actuator-factors-{name}.json").read_text())["factors"]
    dead: dict[str, list[float]] = {"train": [], "extrapolation": []}
    others: dict[str, list[float]] = {"train": [], "extrapolation": [], "healthy": []}
    (parameter,) = get_family(name).parameters
    for robot, row in found.items():
        kind = next((k for k in dead if float(robot) in getattr(parameter, k).options), "healthy")
        gone = PARTS[name].parts[int(float(robot))] if kind != "healthy" else ()
        for n, factor in enumerate(row):
            (dead if n in gone else others)[kind].append(factor)

    def span(values):
        return f"{min(values):.2f} to {max(values):.2f}"

    own = "**, **" if name.startswith("half") else ", "
    never = "**" + own.join(f"{factor:.2f}" for factor in dead["extrapolation"]) + "**"
    guide = GUIDE.read_text()
    assert f"| nothing | | {span(others['healthy'])} |" in guide
    assert f"as in training | {span(dead['train'])} | {span(others['train'])} |" in guide
    assert f"never is in training | {never} | {span(others['extrapolation'])} |" in guide


@pytest.mark.parametrize(("family", "table"), [(FAMILY, 0), ("ant-crippled", 1)])
def test_the_guide_gives_the_gains_that_were_measured(family, table):
    found = json.loads((RESULTS / f"model-based-{family}.json").read_text())
    guide = GUIDE.read_text()
    rows = {
        "the same model trained without adaptation": "plain",
        "GrBAL's own model without its step": "unadapted",
        "GrBAL, adapted to another task's robot": OTHER,
        "robust PPO, as many steps": "robust",
        "teacher-student, 3,123,200 steps": "teacher-student",
    }
    for said, row in rows.items():
        own = found["rows"][row]["extrapolation"]["mean"]
        gain = found["gains"]["extrapolation"]["grbal"][row]
        line = [line for line in guide.splitlines() if line.startswith(f"| {said} |")][table]
        numbers = [int(n) for n in re.findall(r"-?\d+", line.replace("3,123,200", ""))]
        assert numbers == [round(n) for n in (*own, *gain)]


def test_the_guide_says_of_the_half_cheetah_what_was_measured():
    page = " ".join(GUIDE.read_text().split())
    found = json.loads((RESULTS / f"model-based-{FAMILY}.json").read_text())
    gains, met = (found["gains"][split]["grbal"] for split in ("extrapolation", "test"))
    assert {row for row, (_, low, _) in gains.items() if low <= 0} == {"teacher-student"}
    assert max(low for _, low, _ in met.values()) < 0 and met["teacher-student"][2] < 0
    rows = found["rows"]
    met_before = [rows[row]["test"]["mean"][0] for row in ("grbal", "robust", "teacher-student")]
    says = "GrBAL returns {:.0f}, robust PPO {:.0f}, and teacher-student surely more, {:.0f}."
    assert says.format(*met_before) in page
    back = [steps is not None for steps in rows["grbal"]["recovery"]]
    assert (sum(back), len(back)) == (1, 5) and "in one run of five." in page
    base = json.loads((RESULTS / "model-based-base-reversed.json").read_text())["rows"]
    for measured, says in (
        (base, "{:.0f} to {:.0f} actions"),
        (rows, "{:.0f} to {:.0f} with plans"),
    ):
        speeds = [row["hz"] for row in measured.values() if "hz" in row]
        assert says.format(min(speeds), max(speeds)) in page


def test_the_guide_says_of_the_ant_what_was_measured():
    page = " ".join(GUIDE.read_text().split())
    found = json.loads((RESULTS / "model-based-ant-crippled.json").read_text())
    gains = found["gains"]["extrapolation"]["grbal"]
    sure = {row for row, (_, low, _) in gains.items() if low > 0}
    assert sure == {"plain", OTHER, "robust", "teacher-student"}
    met = found["gains"]["test"]["grbal"]
    assert "by {:.0f} [{:.0f}, {:.0f}], on the legs that were dead".format(*met["plain"]) in page
    none = "does not show: {:.0f} [{:.0f}, {:.0f}] on leg 3, {:.0f} [{:.0f}, {:.0f}] on the others"
    assert none.format(*gains["unadapted"], *met["unadapted"]) in page
    assert met["unadapted"][1] < 0 and gains["unadapted"][1] < 0
    assert f"costs {gains[OTHER][0]:.0f}," in page
    errors = [found["rows"][row]["extrapolation"]["errors"][0] for row in ("grbal", "unadapted")]
    assert "({:.3f} instead of {:.3f})".format(*errors) in page
    perfect = json.loads((RESULTS / "perfect-model-ant-crippled.json").read_text())["dead"]["3"]
    own, healthy, other = (sum(perfect[key]) / 2 for key in ("own", "healthy", "other"))
    assert f"returns {own:,.0f}, {healthy:,.0f} and {other:.0f}" in page
    times = own / found["rows"]["grbal"]["extrapolation"]["mean"][0]
    assert f"returns {times:.0f} times as much" in page


def test_the_guide_gives_the_returns_on_the_base_that_were_measured():
    found = json.loads((RESULTS / "model-based-base-reversed.json").read_text())
    page = " ".join(GUIDE.read_text().split())
    saying = {
        "rebal": "environment steps ({:.0f} [{:.0f}, {:.0f}];",
        "plain": "a model that never adapts {:.0f} [{:.0f}, {:.0f}],",
        "robust": "robust PPO {:.0f} [{:.0f}, {:.0f}])",
        "grbal": "gains half as much ({:.0f} [{:.0f}, {:.0f}])",
    }
    for row, text in saying.items():
        assert text.format(*found["rows"][row]["test"]["mean"]) in page
    gains = found["gains"]["test"]
    assert gains["grbal"]["plain"][0] / gains["rebal"]["plain"][0] == pytest.approx(0.5, abs=0.05)
    assert all(gains[better][f"{better}, another's"][1] > 0 for better in gains)  # surely
