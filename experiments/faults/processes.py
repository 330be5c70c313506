"""Processes: too little memory, storms of signals, two at once, clocks set back, moved folders.

    python -m experiments.faults.processes                    # 20 of each kind
    python -m experiments.faults.processes --times 3 --only storms twice

Whatever happens, a user reads at most one line of error and never a traceback, and the run goes on
to the bits of an undisturbed one.

memory: the address space is limited (RLIMIT_AS), and all of it is taken but a random amount.
storms: five to twenty SIGTERM, SIGINT, SIGUSR1 and SIGHUP in random order, from a random time of a
    training on, up to 20 ms apart; and Ctrl-C alone, as often, for commands that save nothing.
twice: two processes begin the same run, resume it, or write the same file, at the same time.
clocks: `time.time` of the process is set back by hours at each resumption (no clock of a machine is
    touched): TensorBoard must read the events in their order.
moved: a run folder is moved or copied between a kill and the resumption, and moved while its
    training goes on.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from experiments.faults import children
from experiments.faults.children import Ended
from experiments.faults.moments import count_into, kill_at
from experiments.faults.subjects import (
    TASK,
    Training,
    half_written,
    leftovers,
    provenance,
    result_of,
    trainings,
    writings,
)
from metarl.runs.files import sha256, write_json
from metarl.runs.metrics_log import read_metrics
from metarl.versions import git_commit

BUSY = "another process is training in it"
HOLDS = "already holds a run"
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
SAVED, KILLED = 75, 130
"""Exit codes of a stopped training that saved, and after a second Ctrl-C."""
BLOCK_BYTES, MOST_BLOCKS = 1 << 16, 96
"""Memory that is left free, at most, in blocks: a tiny training needs about 4 MB."""
RETURN = "rollout/return_post"


@dataclass(frozen=True)
class Options:
    """Sizes of the campaign."""

    times: int = 20
    """Of each kind."""
    only: tuple[str, ...] = ()
    """Kinds: memory, storms, twice, clocks, moved (none: all)."""
    seed: int = 0
    out: Path = Path("experiments/results/faults-processes.json")
    folder: Path | None = None
    """For the runs (None: a temporary one)."""


@dataclass
class Campaign:
    """A training to disturb, and what comes of it."""

    scratch: Path
    training: Training
    expected: dict[str, Any]
    undisturbed_s: float
    moments: int
    random: random.Random
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    @property
    def log(self) -> Path:
        """File for what a command prints."""
        return self.scratch / "log"

    def fresh(self, name: str = "run") -> Path:
        """The name of a folder that is not there."""
        shutil.rmtree(self.scratch / name, ignore_errors=True)
        return self.scratch / name

    def killed(self, run: Path) -> None:
        """A training that was killed on its way, at a moment of writing."""
        fatal = self.random.randint(self.moments // 4, 3 * self.moments // 4)
        kill = kill_at(fatal, self.scratch / "note")
        children.run(self.training.command(run), self.log, kill)

    def judge(self, what: str, ended: Ended, codes: tuple[int, ...]) -> None:
        """Note the outcome; a fault for another code, a traceback, or errors beyond one line."""
        errors = [line for line in ended.said.splitlines() if line.startswith("metarl: error: ")]
        self.outcomes[f"{what}: {ended.code}"] += 1
        if ended.code not in codes or "Traceback" in ended.said or len(errors) > 1:
            self.faults.append(f"{what}: exit code {ended.code}: {ended.said[-400:]}")

    def goes_on(self, what: str, run: Path) -> None:
        """Let a run end, and compare it with the undisturbed one."""
        self.faults += [f"{what}: {text}" for text in half_written(run)]
        ended = children.run(self.training.again(run), self.log)
        if ended.code:
            self.faults.append(f"{what}: did not go on: {ended.last_line}")
        elif result_of(run) != self.expected:
            self.faults.append(f"{what}: other bits")
        elif left := leftovers(run):
            self.faults.append(f"{what}: left behind {left}")


def memory(campaign: Campaign) -> None:
    """A training with too little memory."""
    left, held = campaign.random.randint(0, MOST_BLOCKS), []

    def limit() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = (pages + 1) * resource.getpagesize() + 2 * MOST_BLOCKS * BLOCK_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        # What imports had and freed is free again, and would be enough: all of it is taken first.
        with contextlib.suppress(MemoryError):
            while True:
                held.append(bytearray(BLOCK_BYTES))
        del held[:left]

    run = campaign.fresh()
    ended = children.run(campaign.training.command(run), campaign.log, limit)
    campaign.judge("memory", ended, (0, 1))
    if ended.code == 1 and "out of memory" not in ended.said:
        campaign.faults.append(f"memory: another reason: {ended.last_line}")
    campaign.goes_on("memory", run)


def storms(campaign: Campaign) -> None:
    """Signals in a storm: of a training, and Ctrl-C of a command that saves nothing."""
    chosen, run = campaign.random, campaign.fresh()
    child = children.start(campaign.training.command(run), campaign.log)
    time.sleep(chosen.uniform(0, campaign.undisturbed_s))
    for _ in range(chosen.randint(5, 20)):
        child.send(chosen.choice(STOPPING))
        time.sleep(chosen.uniform(0, 0.02))
    # A signal before or after the loop of training ends the process as any other.
    early = tuple(-number for number in STOPPING)
    campaign.judge("storm", child.wait(), (0, SAVED, KILLED, *early))
    campaign.goes_on("storm", run)
    child = children.start(evaluation(campaign, "out"), campaign.log)
    time.sleep(chosen.uniform(0, campaign.undisturbed_s / 2))
    for _ in range(chosen.randint(5, 20)):
        child.send(signal.SIGINT)
        time.sleep(chosen.uniform(0, 0.02))
    campaign.judge("Ctrl-C of evaluate", child.wait(), (0, KILLED, -signal.SIGINT))


def evaluation(campaign: Campaign, name: str) -> list[str]:
    """The command that evaluates the undisturbed run into a new folder."""
    (evaluate,) = writings(("evaluate",))
    return evaluate.command(campaign.scratch / "whole", campaign.fresh(name))


def both(campaign: Campaign, *commands: list[str]) -> list[Ended]:
    """Two commands at the same time, or nearly."""
    begun = []
    for number, command in enumerate(commands):
        begun.append(children.start(command, campaign.scratch / f"log{number}"))
        time.sleep(campaign.random.choice([0, 0.002, 0.02, 0.1]))
    return [child.wait() for child in begun]


def twice(campaign: Campaign) -> None:
    """Two processes that begin one run, resume one, export to one file, adapt into one folder."""
    run = campaign.fresh()
    beginnings = both(campaign, *[campaign.training.command(run)] * 2)
    one_wins(campaign, "begun twice", beginnings, (BUSY, HOLDS, "cannot write"))
    campaign.goes_on("begun twice", run)
    run = campaign.fresh()
    campaign.killed(run)
    resumptions = both(campaign, *[campaign.training.again(run)] * 2)
    one_wins(campaign, "resumed twice", resumptions, (BUSY, HOLDS))
    campaign.goes_on("resumed twice", run)
    whole = campaign.scratch / "whole"
    file, folder = campaign.scratch / "policy.onnx", campaign.fresh("adapted")
    for ended in both(campaign, *[["export", str(whole), "--out", str(file)]] * 2):
        campaign.judge("exported twice", ended, (0,))
    digest = sha256(file.read_bytes())
    children.succeed(["export", str(whole), "--out", str(file)], campaign.log)
    if sha256(file.read_bytes()) != digest:
        campaign.faults.append("exported twice: another file")
    adapt = ["adapt", str(whole), *TASK, "--episodes", "2", "--sim-threads", "1"]
    for ended in both(campaign, *[[*adapt, "--out", str(folder)]] * 2):
        campaign.judge("adapted twice", ended, (0,))
    campaign.faults += [f"adapted twice: {text}" for text in half_written(folder)]


def one_wins(campaign: Campaign, what: str, found: list[Ended], reasons: tuple[str, ...]) -> None:
    """Exactly one of two ends well, or one after the other; the other says why not."""
    for ended in found:
        campaign.judge(what, ended, (0, 1))
        if ended.code == 1 and not any(reason in ended.said for reason in reasons):
            campaign.faults.append(f"{what}: another reason: {ended.last_line}")
    if all(ended.code for ended in found):
        campaign.faults.append(f"{what}: neither went on")


def clocks(campaign: Campaign) -> None:
    """A clock that is set back by hours at each start."""
    run, now = campaign.fresh(), time.time()
    hours = campaign.random.sample(range(1, 1000), 3)

    def back(count: int, then: Callable[[], None] = lambda: None) -> Callable[[], None]:
        def set_back() -> None:
            time.time = lambda: now - 3600.0 * count
            then()

        return set_back

    for count in sorted(hours)[:2]:
        fatal = campaign.random.randint(campaign.moments // 4, campaign.moments // 2)
        kill = kill_at(fatal, campaign.scratch / "note")
        children.run(campaign.training.again(run), campaign.log, back(count, kill))
    ended = children.run(campaign.training.again(run), campaign.log, back(max(hours)))
    campaign.judge("clock", ended, (0,))
    campaign.goes_on("clock", run)
    view = EventAccumulator(str(run / "tensorboard"))
    view.Reload()
    seen = [(event.step, round(event.value, 3)) for event in view.Scalars(RETURN)]
    logged = [(line["rollout/env_steps"], round(line[RETURN], 3)) for line in read_metrics(run)]
    if seen != logged:
        campaign.faults.append(f"clock: TensorBoard shows {seen}, logged are {logged}")


def moved(campaign: Campaign) -> None:
    """A run folder that is moved, copied, or moved under a training."""
    run, other = campaign.fresh(), campaign.fresh("elsewhere")
    campaign.killed(run)
    shutil.copytree(run, other)
    campaign.goes_on("copied", other)
    third = campaign.fresh("third")
    run.rename(third)
    campaign.goes_on("moved", third)
    run = campaign.fresh()
    child = children.start(campaign.training.command(run), campaign.log)
    deadline = time.monotonic() + 60
    while not (run / "checkpoints" / "latest").exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    os.rename(run, campaign.fresh("elsewhere"))
    campaign.judge("moved while it was trained", child.wait(), (0, 1))
    if run.exists():
        campaign.faults.append("moved while it was trained: made the old folder anew")
    campaign.goes_on("moved while it was trained", other)


KINDS = {"memory": memory, "storms": storms, "twice": twice, "clocks": clocks, "moved": moved}


def main(options: Options) -> int:
    """Disturb, write the result file, say in a line what was found; 1 if anything went wrong."""
    children.import_all()
    git_commit()
    began = time.perf_counter()
    kinds: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="metarl-processes-", dir=options.folder) as place:
        scratch = Path(place)
        whole, again, note = scratch / "whole", scratch / "again", scratch / "count"
        (training,) = trainings(("promp",), whole)
        children.learn_imports(training.command(whole), scratch / "log")
        counted = children.run(training.command(again), scratch / "log", count_into(note))
        expected, moments = result_of(whole), int(note.read_bytes())
        for name, disturb in KINDS.items():
            if options.only and name not in options.only:
                continue
            campaign = Campaign(
                *(scratch, training, expected, counted.wall_s, moments),
                random.Random(f"{options.seed} {name}"),
            )
            for _ in range(options.times):
                disturb(campaign)
            faults = [text.replace(f"{scratch}/", "") for text in campaign.faults]
            outcomes = dict(sorted(campaign.outcomes.items()))
            kinds[name] = {"times": options.times, "exit_codes": outcomes, "faults": faults}
            print(f"{name}: {outcomes}", *faults, sep="\n  ", flush=True)
    faults = sum(len(kind["faults"]) for kind in kinds.values())
    document = {
        "kinds": kinds,
        "faults": faults,
        **provenance(time.perf_counter() - began, options.seed),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.out, document)
    print(f"{faults} faults; wrote {options.out}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
