"""Disks: full ones and read-only ones; what users are told, and that no work is lost.

    python -m experiments.faults.disks                   # 100 moments at which the disk is full
    python -m experiments.faults.disks --moments 10 --only promp export

A disk becomes full in two ways. Two thirds of the moments: from a random moment on, every call that
takes space fails with ENOSPC, half-way through where it is a write (`experiments.faults.moments`).
The other third, where a tmpfs can be mounted: a training goes on where a random number of bytes is
free. Then there is space again, and the same must come out as if nothing had happened: the bits of
a training, the files of other commands. A user reads one line that says what was full; where only
TensorBoard's view of a run could not be written, training goes on with a warning.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from experiments.faults import children
from experiments.faults.children import Ended
from experiments.faults.moments import count_into, full_from
from experiments.faults.mounts import filled, read_only, small_disk
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

FULL = "No space left on device"
VIEW = "TensorBoard"
TMPFS = "resume on a full tmpfs"
DISK_BYTES = 192_000_000
"""More than a run wants to be free at its beginning."""
TRAINED = ("promp", "rl2", "robust", "promp --start")
WRITTEN = ("evaluate", "adapt", "report", "export")


@dataclass(frozen=True)
class Options:
    """Sizes of the campaign."""

    moments: int = 100
    only: tuple[str, ...] = ()
    """Methods, baselines and commands (none: promp, rl2, robust, promp --start, and all that write
    results)."""
    seed: int = 0
    out: Path = Path("experiments/results/faults-disks.json")
    folder: Path | None = None
    """For the runs (None: a temporary one)."""


@dataclass
class Findings:
    """All that was found, as it is found."""

    full: Counter[str]
    """Moments at which the disk was full, by command."""
    said: Counter[str]
    """Texts that users read, without the names of files."""
    faults: list[str]

    def told(self, name: str, ended: Ended) -> None:
        """Judge what a command said on a full disk."""
        self.full[name] += 1
        lines = [line for line in ended.said.splitlines() if line.startswith("metarl: ")]
        errors = [line for line in lines if line.startswith("metarl: error: ")]
        warned = any(VIEW in line for line in lines if line not in errors)
        good = ended.code == 1 and len(errors) == 1 and FULL in errors[0]
        if "Traceback" in ended.said or not (good or (ended.code == 0 and (warned or not lines))):
            self.faults.append(f"{name}: exit code {ended.code}: {ended.said[-300:]}")
        outcome = f"exit code {ended.code}, {'error' if errors else 'no error'}"
        self.said[f"{name}: {outcome}{', TensorBoard warned' if warned else ''}"] += 1

    def check(self, name: str, wrong: object) -> None:
        """Note a fault, unless there is nothing wrong."""
        if wrong:
            self.faults.append(f"{name}: {wrong}")


def fill_training(
    training: Training, count: int, scratch: Path, seed: int, found: Findings
) -> None:
    """Fill the disk at random moments of a training, free it, and let the training go on."""
    log, note = scratch / "log", scratch / "note"
    whole, again = scratch / "whole", scratch / "again"
    children.learn_imports(training.command(whole), log)
    expected = result_of(whole)
    children.run(training.command(again), log, count_into(note))
    chosen = random.Random(seed)
    for _ in range(count):
        run = scratch / "run"
        shutil.rmtree(run, ignore_errors=True)
        full = full_from(chosen.randint(1, int(note.read_bytes())))
        found.told(training.name, children.run(training.command(run), log, full))
        found.check(training.name, half_written(run))
        ended = children.run(training.again(run), log)
        found.check(training.name, ended.code and f"did not go on: {ended.last_line}")
        found.check(training.name, not ended.code and result_of(run) != expected and "other bits")
        found.check(training.name, [] if ended.code else leftovers(run))


def fill_writing(
    writing: Writing, run: Path, count: int, scratch: Path, seed: int, found: Findings
) -> None:
    """Fill the disk at random moments of a command that writes results."""
    log, note, out = scratch / "log", scratch / "note", scratch / "out"
    whole, again = scratch / "whole", scratch / "again"
    for folder in (whole, again, out):
        folder.mkdir()
    children.learn_imports(writing.command(run, whole), log)
    expected = contents(whole)
    children.run(writing.command(run, again), log, count_into(note))
    chosen = random.Random(seed)
    for _ in range(count):
        full = full_from(chosen.randint(1, int(note.read_bytes())))
        found.told(writing.name, children.run(writing.command(run, out), log, full))
        wrong = {n for n, digest in contents(out).items() if digest != expected.get(n)}
        found.check(writing.name, wrong and f"half-written: {sorted(wrong)}")
        found.check(writing.name, leftovers(out))
        ended = children.run(writing.command(run, out), log)
        found.check(writing.name, ended.code and f"did not work again: {ended.last_line}")
        found.check(writing.name, contents(out) != expected and "other files than undisturbed")
        shutil.rmtree(out)
        out.mkdir()


def fill_tmpfs(training: Training, count: int, scratch: Path, seed: int, found: Findings) -> bool:
    """Resume a training on a real disk with few bytes free; False where none can be mounted."""
    log, disk = scratch / "log", scratch / "disk"
    disk.mkdir()
    whole = scratch / "whole"
    children.learn_imports(training.command(whole), log)
    expected = result_of(whole)
    chosen = random.Random(seed)
    half = [*training.words, "--iterations", "2", "--run"]
    for _ in range(count):
        with small_disk(disk, DISK_BYTES) as mounted:
            if not mounted:
                return False
            run = disk / "run"
            children.succeed([*half, str(run)], log)
            resume = ["resume", str(run), "--iterations", "6", "--quiet"]
            with filled(disk, 4096 * chosen.randint(0, 40)):
                found.told(TMPFS, children.run(resume, log))
            found.check(TMPFS, half_written(run))
            ended = children.run(resume, log)
            found.check(TMPFS, ended.code and f"did not go on: {ended.last_line}")
            found.check(TMPFS, not ended.code and result_of(run) != expected and "other bits")
    return True


def read_only_places(run: Path, scratch: Path, found: Findings) -> list[dict[str, Any]] | None:
    """Use a run that is in a read-only folder; None where there is no such thing for root."""
    rows, log = [], scratch / "log"
    shelf, elsewhere = scratch / "shelf", scratch / "elsewhere"
    elsewhere.mkdir()
    kept = shelf / "run"
    shutil.copytree(run, kept)
    refused: list[list[str]] = [
        trainings(("promp",), run)[0].command(shelf / "new"),
        ["resume", str(kept), "--iterations", "8", "--quiet"],
        *(writing.command(kept, shelf) for writing in writings(())),
    ]
    allowed = [writing.command(kept, elsewhere) for writing in writings(())]
    with read_only(shelf) as possible:
        if not possible:
            return None
        for command in [*refused, *allowed]:
            ended = children.run(command, log)
            expected = 0 if command in allowed else 1
            lines = [line for line in ended.said.splitlines() if line.startswith("metarl: ")]
            clear = len(lines) == 1 or (not lines and not expected)
            name = f"{command[0]} {'elsewhere' if command in allowed else 'into it'}"
            if ended.code != expected or not clear or "Traceback" in ended.said:
                found.faults.append(f"read-only, {name}: {ended.code}: {ended.said[-300:]}")
            said = " ".join(lines).replace(f"{scratch}/", "")
            rows.append({"command": name, "exit_code": ended.code, "said": said})
    return rows


def main(options: Options) -> int:
    """Fill, write the result file, and say in a line what was found; 1 if anything went wrong."""
    children.import_all()
    git_commit()
    began = time.perf_counter()
    found = Findings(Counter(), Counter(), [])
    with tempfile.TemporaryDirectory(prefix="metarl-disks-", dir=options.folder) as place:
        scratch, start = Path(place), Path(place) / "start"
        (first,) = trainings(("promp",), start)
        children.learn_imports(first.command(start), scratch / "log")
        names = options.only or (*TRAINED, *WRITTEN)
        subjects = [
            *(training for training in trainings((), start) if training.name in names),
            *(writing for writing in writings(()) if writing.name in names),
        ]
        on_tmpfs = options.moments // 3
        folder = scratch / "tmpfs"
        folder.mkdir()
        real = fill_tmpfs(first, on_tmpfs, folder, options.seed, found)
        left = options.moments - (on_tmpfs if real else 0)
        for number, subject in enumerate(subjects):
            folder = scratch / str(number)
            folder.mkdir()
            count = -(-left // (len(subjects) - number))
            left -= count
            seed = options.seed + 1 + number
            if isinstance(subject, Training):
                fill_training(subject, count, folder, seed, found)
            else:
                fill_writing(subject, start, count, folder, seed, found)
            shutil.rmtree(folder)
            print(f"{subject.name}: {count} moments, {len(found.faults)} faults by now", flush=True)
        folder = scratch / "read-only"
        folder.mkdir()
        unwritable = read_only_places(start, folder, found)
        faults = [text.replace(f"{scratch}/", "") for text in found.faults]
    document = {
        "full_disk": {
            "moments": found.full.total(),
            "of": dict(found.full),
            "a_real_tmpfs": real,
            "users_read": dict(sorted(found.said.items())),
        },
        "read_only": unwritable,
        "faults": faults,
        **provenance(time.perf_counter() - began, options.seed),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.out, document)
    print(f"{found.full.total()} full disks, {len(faults)} faults; wrote {options.out}", *faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
