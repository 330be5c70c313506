"""Kills: every command dies by SIGKILL, again and again, and ends with the undisturbed bits.

    python -m experiments.faults.kills                        # 1,000 kills, all commands
    python -m experiments.faults.kills --kills 20 --only promp evaluate

Half of the victims die at a random time, the other half at a random one of the moments at which
they write, half of whose writes are cut in two (see `experiments.faults.moments`). A training is
killed up to `--in-a-row` times, each time continued by `metarl resume` (by the same command if
nothing had begun), and then left to end: its parameters, optimiser, random streams, metrics and
best policy must be those of a run that nothing disturbed. After every kill, every file that has its
final name must be whole. Commands that write results are repeated after each kill: their files must
be those of an undisturbed call, and the run that they read untouched.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

from experiments.faults import children
from experiments.faults.children import Ended
from experiments.faults.moments import count_into, kill_at
from experiments.faults.subjects import (
    Training,
    Writing,
    contents,
    half_written,
    leftovers,
    provenance,
    result_of,
    trainings,
    writings,
)
from metarl.runs.files import write_json
from metarl.versions import git_commit

AT_A_TIME = "at a random time"
PREFIX = "moment "
NOTED = ("damaged", "corrupt", "truncated", "Traceback", "this is a bug")
"""Words that no command may say after a kill."""


@dataclass(frozen=True)
class Options:
    """Sizes of the campaign."""

    kills: int = 1000
    only: tuple[str, ...] = ()
    """Methods, baselines and commands (none: all)."""
    in_a_row: int = 4
    """Most kills of one run."""
    seed: int = 0
    out: Path = Path("experiments/results/faults-kills.json")
    folder: Path | None = None
    """For the runs (None: a temporary one, in memory where there is /dev/shm)."""


@dataclass
class Row:
    """Findings about one command."""

    name: str
    undisturbed_s: float
    moments: int
    """Of an undisturbed call."""
    kills: Counter[str] = field(default_factory=Counter)
    """By where they fell."""
    outlived: int = 0
    """Calls that ended before their kill."""
    ends: int = 0
    """Runs, or calls that write results, that were left to end after kills."""
    faults: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """For the result file."""
        return {
            "command": self.name,
            "kills": self.kills.total(),
            "fell": dict(sorted(self.kills.items())),
            "outlived": self.outlived,
            "ends": self.ends,
            "undisturbed": {"seconds": round(self.undisturbed_s, 2), "moments": self.moments},
            "faults": self.faults,
        }


class Killer:
    """Draws when a victim dies, and watches it die."""

    def __init__(self, scratch: Path, seed: int) -> None:
        self._log, self._note = scratch / "log", scratch / "note"
        self._random = random.Random(seed)

    def kill(self, command: list[str], row: Row) -> Ended:
        """Run a command that is to be killed, and count where it was."""
        self._note.write_bytes(b"")
        if self._random.random() < 0.5:
            child = children.start(command, self._log)
            time.sleep(self._random.uniform(0, row.undisturbed_s))
            child.send(9)
            ended = child.wait()
        else:
            fatal = self._random.randint(1, row.moments)
            ended = children.run(command, self._log, kill_at(fatal, self._note))
        if ended.killed:
            operation = self._note.read_text()
            row.kills[f"{PREFIX}{operation}" if operation else AT_A_TIME] += 1
        else:
            row.outlived += 1
            if ended.code:
                row.faults.append(f"exit code {ended.code}: {ended.last_line}")
        return ended


def kill_training(training: Training, kills: int, in_a_row: int, scratch: Path, seed: int) -> Row:
    """Kill one learner's trainings."""
    log, note = scratch / "log", scratch / "note"
    whole = scratch / "whole"
    children.learn_imports(training.command(whole), log)
    expected = result_of(whole)
    again = scratch / "again"
    ended = children.run(training.command(again), log, count_into(note))
    row = Row(training.name, ended.wall_s, int(note.read_bytes()))
    if result_of(again) != expected:
        row.faults.append("two undisturbed runs differ")
    killer = Killer(scratch, seed)
    while row.kills.total() < kills and row.outlived < 3 * kills:
        run = scratch / "run"
        shutil.rmtree(run, ignore_errors=True)
        for _ in range(min(in_a_row, kills - row.kills.total())):
            if not killer.kill(training.again(run), row).killed:
                break
            row.faults += half_written(run)
        ended = children.run(training.again(run), log)
        row.ends += 1
        if ended.code or any(word in ended.said for word in NOTED):
            row.faults.append(f"exit code {ended.code}: {ended.last_line}")
        elif result_of(run) != expected:
            found = result_of(run)
            row.faults.append(
                f"other bits: {[key for key in found if found[key] != expected[key]]}"
            )
        elif left := leftovers(run):
            row.faults.append(f"left behind: {left}")
    return row


def kill_writing(writing: Writing, run: Path, kills: int, scratch: Path, seed: int) -> Row:
    """Kill a command that writes results about a run."""
    log, note = scratch / "log", scratch / "note"
    whole, again, out = scratch / "whole", scratch / "again", scratch / "out"
    for folder in (whole, again, out):
        folder.mkdir()
    children.learn_imports(writing.command(run, whole), log)
    ended = children.run(writing.command(run, again), log, count_into(note))
    row = Row(writing.name, ended.wall_s, int(note.read_bytes()))
    expected = contents(whole)
    unlike = {name for name, digest in contents(again).items() if digest != expected.get(name)}
    if unlike:
        row.faults.append(f"differ from call to call: {sorted(unlike)}")
    kept = run_files(run)
    killer = Killer(scratch, seed)
    while row.kills.total() < kills and row.outlived < 3 * kills:
        if not killer.kill(writing.command(run, out), row).killed:
            continue
        wrong = {n for n, digest in contents(out).items() if digest != expected.get(n)}
        if wrong - unlike:
            row.faults.append(f"half-written: {sorted(wrong)}")
        ended = children.run(writing.command(run, out), log)
        row.ends += 1
        found = contents(out)
        if ended.code or any(word in ended.said for word in NOTED):
            row.faults.append(f"exit code {ended.code}: {ended.last_line}")
        elif {n for n in found | expected if found.get(n) != expected.get(n)} - unlike:
            row.faults.append("other files than those of an undisturbed call")
        shutil.rmtree(out)
        out.mkdir()
    if changed := set(run_files(run).items()) ^ set(kept.items()):
        row.faults.append(f"changed the run: {sorted(changed)}")
    return row


def run_files(run: Path) -> dict[str, str]:
    """Contents of a run but of its TensorBoard events, to which a report adds figures."""
    return {n: digest for n, digest in contents(run).items() if not n.startswith("tensorboard/")}


def main(options: Options) -> int:
    """Kill, write the result file, and say in a line what was found; 1 if anything went wrong."""
    children.import_all()
    git_commit()
    began = time.perf_counter()
    memory = Path("/dev/shm")
    place = options.folder or (memory if memory.is_dir() else Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix="metarl-kills-", dir=place) as scratch:
        start = Path(scratch) / "start"
        first, *_ = trainings(("promp",), start)
        children.learn_imports(first.command(start), Path(scratch) / "log")
        subjects = [*trainings(options.only, start), *writings(options.only)]
        rows = []
        for number, subject in enumerate(subjects):
            left = options.kills - sum(row.kills.total() for row in rows)
            kills = -(-left // (len(subjects) - number))
            folder = Path(scratch) / f"{number}"
            folder.mkdir()
            seed = options.seed + number
            if isinstance(subject, Training):
                row = kill_training(subject, kills, options.in_a_row, folder, seed)
            else:
                row = kill_writing(subject, start, kills, folder, seed)
            row.faults = [text.replace(f"{folder}/", "") for text in row.faults]
            rows.append(row)
            shutil.rmtree(folder)
            lines = [f"{row.name}: {row.kills.total()} kills, {row.ends} ends", *row.faults]
            print(*lines, sep="\n  ", flush=True)
            options.out.parent.mkdir(parents=True, exist_ok=True)
            write_json(options.out, summary(rows, time.perf_counter() - began, options))
    found = sum(len(row.faults) for row in rows)
    killed = sum(row.kills.total() for row in rows)
    print(f"{killed} kills, {found} faults; wrote {options.out}")
    return 1 if found else 0


def summary(rows: list[Row], wall_s: float, options: Options) -> dict[str, Any]:
    """The result file's content."""
    fell: Counter[str] = Counter()
    for row in rows:
        fell += row.kills
    moments = sum(count for where, count in fell.items() if where != AT_A_TIME)
    return {
        "asked_for": options.kills,
        "kills": fell.total(),
        "at_moments_of_writing": moments,
        "fell": dict(sorted(fell.items())),
        "ends": sum(row.ends for row in rows),
        "faults": sum(len(row.faults) for row in rows),
        **provenance(wall_s, options.seed),
        "rows": [row.summary() for row in rows],
    }


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
