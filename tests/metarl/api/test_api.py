"""The commands as functions: same names, same defaults, same files; nothing printed."""

from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path

import pytest
from support.tiny_runs import TINY, TINY_FLAGS, run_with

import metarl
from metarl.api import training
from metarl.api.measuring import Measuring, each_evaluated
from metarl.cli import main
from metarl.cli.baseline import Baseline
from metarl.cli.diagnose import Diagnose
from metarl.cli.evaluate import Evaluate
from metarl.cli.options import Compute, NewRuns
from metarl.cli.train import Resume, Train
from metarl.errors import RunError
from metarl.evaluation.curve_table import comparison_table
from metarl.methods.settings import RESUMABLE
from metarl.runs.checkpoint import load_policy, load_run_config, update_run
from metarl_envs import InputError, get_family, register_family

SIZES = dict(meta_batch_size=3, episodes_per_task=3, horizon=8, sim_threads=1, iterations=2)
PARTS = {"compute": Compute, "new": NewRuns}
ELSEWHERE = {"settings", "options", "quiet", "help_all"}
MEASURING = {"tasks": 3, "episodes": 2, "sim_threads": 1}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def fields(command: type) -> dict[str, object]:
    """Options of a command and what holds without them; `inspect.Parameter.empty`: required."""
    found = {}
    for field in dataclasses.fields(command):
        if field.name in PARTS:
            found |= fields(PARTS[field.name])
            continue
        required = field.default is dataclasses.MISSING
        found[field.name] = inspect.Parameter.empty if required else field.default
    return found


@pytest.mark.parametrize(
    ("function", "command", "elsewhere", "renamed"),
    [
        # Several seeds are a list of calls; settings are keywords or a mapping, and flags.
        (metarl.train, Train, {"seeds", *ELSEWHERE}, {}),
        (metarl.baseline, Baseline, {"seeds", "task", *ELSEWHERE}, {}),
        (metarl.resume, Resume, {*RESUMABLE, *ELSEWHERE}, {"run_folder": "run"}),
        # What is measured is written by `save(folder)` of what is returned.
        (each_evaluated, Evaluate, {"out", "quiet"}, {"run_folders": "runs"}),
        (metarl.diagnose, Diagnose, {"quiet"}, {"run_folders": "runs"}),
    ],
)  # fmt: skip
def test_a_function_has_the_names_and_defaults_of_its_command(
    function, command, elsewhere, renamed
):
    options = {
        renamed.get(name, name): default
        for name, default in fields(command).items()
        if name not in elsewhere
    }
    parameters = inspect.signature(function).parameters
    own = {"progress", "announce", "options", *(elsewhere - {"quiet", "out", "seeds"})}
    assert [name for name in parameters if name not in own] == [
        name for name in options if name not in own
    ]
    for name, default in options.items():
        found = parameters[name].default
        if name != "run" or default is not inspect.Parameter.empty:
            assert found == default or (name == "runs" and command is Evaluate), name
    assert parameters["progress"].default is False


def test_the_keywords_of_evaluate_and_compare_are_those_of_what_they_call():
    _, *keywords = inspect.signature(each_evaluated).parameters
    assert list(Measuring.__annotations__) == keywords
    for function in (metarl.evaluate, metarl.compare):
        with pytest.raises(TypeError, match="colour"):
            function([Path("r")], colour=1)
    described = inspect.getdoc(metarl.evaluate)
    assert all(f"\n    {name}: " in described for name in keywords)


def test_every_public_name_is_listed_and_there():
    assert dir(metarl) == sorted(metarl.__all__)
    for name in metarl.__all__:
        assert getattr(metarl, name) is not None
    assert {"train", "evaluate", "diagnose", "compare", "load"} <= set(dir(metarl))


def test_train_is_what_the_command_trains_and_prints_nothing(capfd):
    run = metarl.train("navigation", seed=3, **SIZES)
    assert capfd.readouterr() == ("", "")
    assert run.folder == Path("runs/navigation-maml-trpo-3")
    arguments = ["train", "navigation", *TINY_FLAGS, "--iterations", "2", "--seed", "3"]
    assert main([*arguments, "--run", "typed"]) == 0
    shown = capfd.readouterr().out
    first, second = load_policy(run.folder), load_policy(Path("typed"))
    assert first.metadata["sha256"] == second.metadata["sha256"]
    assert load_run_config(run.folder) == load_run_config(Path("typed"))
    assert run.trained == 2 and len(run.metrics) == 2
    assert run.policy.saved.metadata["sha256"] == first.metadata["sha256"]
    # It prints as the command ends.
    header, *lines = str(run).splitlines()
    assert header == "navigation | MAML-TRPO | seed 3 | runs/navigation-maml-trpo-3"
    assert "\n".join(lines) in shown


def test_settings_are_those_of_set():
    chosen = {"outer.clip": 0.2, "policy.hidden_sizes": [4]}
    run = metarl.train("navigation", method="promp", settings=chosen, run="r", **SIZES)
    assert run.config.outer.clip == 0.2
    assert run.config.policy.hidden_sizes == (4,)
    with pytest.raises(InputError, match=r"unknown setting of promp 'outer.clop': did you mean"):
        metarl.train("navigation", method="promp", settings={"outer.clop": 1})
    with pytest.raises(InputError, match=r"'max_kl': did you mean outer\.max_kl"):
        metarl.train("navigation", max_kl=0.1)
    with pytest.raises(RunError, match="already holds a run"):
        metarl.train("navigation", run="r", **SIZES)


def test_resume_goes_on_and_says_when_nothing_is_left():
    run = metarl.train("navigation", **SIZES)
    again = metarl.resume(run)
    assert (again.folder, again.trained) == (run.folder, 0)
    longer = metarl.resume(run, iterations=3)
    assert longer.trained == 1 and len(longer.metrics) == 3
    with pytest.raises(InputError, match="--env-steps: for baselines"):
        metarl.resume(run, env_steps=9)


def test_a_longer_training_killed_before_it_saved_anything_is_still_longer():
    run = metarl.train("navigation", **SIZES)
    update_run(run.folder, dataclasses.replace(run.config, iterations=3), ["metarl", "resume"])
    assert metarl.resume(run).trained == 1
    assert len(run.metrics) == 3


class Killed(BaseException):
    """Ends a process without running any clean-up for ordinary errors."""


def killed(*_):
    raise Killed


def test_a_run_killed_as_it_begins_never_goes_on_from_fresh_weights(monkeypatch):
    start = metarl.train("navigation", **SIZES)
    arguments = dict(start=start, **SIZES)
    whole = metarl.train("navigation", run="whole", **arguments)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training, "save_checkpoint", killed)
        metarl.train("navigation", run="killed", **arguments)
    with pytest.raises(RunError):
        metarl.resume("killed")
    again = metarl.train("navigation", run="killed", **arguments)
    digests = [load_policy(run.folder).metadata["sha256"] for run in (again, whole)]
    assert digests[0] == digests[1]


def test_a_baseline_killed_as_it_begins_can_be_begun_again(monkeypatch):
    sb3_training = pytest.importorskip("metarl.sb3.training")
    few = {"outer.minibatches": 2}
    arguments = dict(worlds=2, horizon=8, env_steps=16, settings=few, run="r")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(sb3_training.PpoLearner, "save", killed)
        metarl.baseline("scratch", "navigation", **arguments)
    with pytest.raises(RunError):
        metarl.resume("r")
    run = metarl.baseline("scratch", "navigation", **arguments)
    assert "task" in load_policy(run.folder).metadata


def test_a_family_may_be_an_object():
    plain = get_family("navigation")
    mine = dataclasses.replace(plain, name="my-navigation")
    run = metarl.train(mine, **SIZES)
    assert run.folder == Path("runs/my-navigation-maml-trpo-0")
    assert metarl.evaluate(run, family=mine, **MEASURING).evaluation.family is mine
    other = dataclasses.replace(plain, name="another")
    register_family(other)
    with pytest.raises(InputError, match="defines 'another', but this run was trained on"):
        metarl.evaluate(run, family=other, **MEASURING)


def test_evaluate_measures_what_the_command_measures_and_writes_on_request(tmp_path, capfd):
    run = run_with(tmp_path / "run", 1)
    found = metarl.evaluate(run, splits=["test"], **MEASURING)
    assert capfd.readouterr() == ("", "")
    assert not (run / "evaluation").exists()
    sizes = ["--tasks", "3", "--episodes", "2", "--sim-threads", "1", "--splits", "test"]
    assert main(["evaluate", str(run), *sizes]) == 0
    assert str(found) in capfd.readouterr().out
    written = json.loads((run / "evaluation" / "evaluation.json").read_text())
    assert written["splits"] == json.loads(json.dumps(found.summary()["splits"]))
    # A second one is beside the first.
    before = (run / "evaluation" / "evaluation.json").read_bytes()
    assert found.save()[0].parent == run / "evaluation-2"
    assert (run / "evaluation" / "evaluation.json").read_bytes() == before
    assert found.save("here")[0].parent == Path("here")


def test_points_of_few_episodes_are_added_and_leave_the_others_as_they_are(tmp_path):
    run = run_with(tmp_path / "run", 1)
    sizes = MEASURING | {"episodes": 6, "splits": ["test"]}
    found = metarl.evaluate(run, **sizes).evaluation
    assert found.schedule == [(0, 0), (1, 1), (1, 2), (1, 5), (1, 6)]
    without = metarl.evaluate(run, budgets=(), **sizes).evaluation
    assert without.schedule == [(0, 0), (1, 6)]
    ends = found.splits[0].returns[[0, 4]]
    assert ends.tolist() == without.splits[0].returns.tolist()
    steps = metarl.evaluate(run, steps=2, **sizes).evaluation
    assert steps.schedule == [(0, 0), (1, 6), (2, 12)]


def test_several_runs_are_evaluated_in_order_and_compared(tmp_path):
    runs = [run_with(tmp_path / name, 1) for name in ("a", "b")]
    runs.append(run_with(tmp_path / "c", 1, config=dataclasses.replace(TINY, discount=0.5)))
    found = metarl.evaluate([str(run) for run in runs], splits=["test"], **MEASURING)
    assert [one.folder for one in found] == runs
    compared = metarl.compare(runs, splits=["test"], **MEASURING)
    assert [method.label for method in compared.comparison.methods] == [
        "maml-trpo (a)",
        "maml-trpo (c)",
    ]
    assert str(compared) == comparison_table(compared.comparison)
    assert compared.summary()["gap"] is None
    (path,) = compared.save()
    assert path == tmp_path / "comparison" / "comparison.json"
    assert compared.save()[0].parent == tmp_path / "comparison-2"


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"tasks": 0}, "tasks = 0: must be at least 1"),
        ({"episodes": 2.5}, "episodes = 2.5: must be a whole number"),
        ({"sim_threads": 0}, "sim_threads = 0: must be at least 1"),
        ({"device": "gpu"}, "device = 'gpu': allowed are auto, cpu, cuda"),
    ],
)
def test_wrong_values_are_refused_by_name(tmp_path, given, complaint):
    run = run_with(tmp_path / "run", 1)
    with pytest.raises(InputError, match=complaint):
        metarl.evaluate(run, **given)


def test_baseline_and_diagnose(capfd):
    pytest.importorskip("stable_baselines3")
    small = {"worlds": 3, "horizon": 8, "sim_threads": 1, "settings": {"outer.minibatches": 2}}
    task = {"goal": (0.3, -0.2)}
    run = metarl.baseline("scratch", "navigation", env_steps=30, task=task, **small)
    assert run.policy.saved.metadata["task"] == {"goal": [0.3, -0.2]}
    assert run.trained == 2
    assert "does not adapt" in str(run).splitlines()[-1]
    assert "gain" not in str(run)
    with pytest.raises(InputError, match="--task: for the baseline scratch, not for robust"):
        metarl.baseline("robust", "navigation", task=task)
    robust, oracle = (
        metarl.baseline(name, "navigation", env_steps=30, **small) for name in ("robust", "oracle")
    )
    found = metarl.diagnose("navigation", robust=[robust], oracle=[oracle], out="d", **MEASURING)
    assert capfd.readouterr() == ("", "")
    assert found.diagnosis.verdict("test") in " ".join(str(found).split())
    assert not Path("d").exists()
    (path,) = found.save()
    written = json.loads(path.read_text())
    assert written["runs"]["robust"] == ["runs/navigation-robust-0"]
    assert (written["episodes"], written["gradient_steps"]) == (2, 1)
