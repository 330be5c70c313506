"""Results of measuring, which print as the commands do and save the same files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metarl.evaluation.comparison import Comparison
from metarl.evaluation.curve_table import comparison_table, curve_table, gap_table
from metarl.evaluation.diagnosis import Diagnosis
from metarl.evaluation.gap import Gap
from metarl.evaluation.grouping import compare
from metarl.evaluation.results import Evaluation
from metarl.process import command_line
from metarl.report.curves import first_episodes, write_comparison, write_evaluation
from metarl.runs.checkpoint import SavedPolicy
from metarl.runs.files import write_json
from metarl.runs.places import free_folder, output
from metarl.versions import git_commit, versions


@dataclass(frozen=True)
class EvaluatedRun:
    """A run's adaptation curves: return before and after adaptation."""

    folder: Path
    """Folder of the run or policy."""
    saved: SavedPolicy
    evaluation: Evaluation
    """All numbers, by split."""

    def __str__(self) -> str:
        return curve_table(self.evaluation)

    def summary(self) -> dict[str, Any]:
        """Plain JSON values, as in evaluation.json."""
        return self.evaluation.summary()

    def save(self, folder: Path | str | None = None) -> list[Path]:
        """Write evaluation.csv, evaluation.json and adaptation_curve.png.

        Args:
            folder: None: RUN/evaluation, or the first free one of RUN/evaluation-2, -3, ...

        Returns:
            The files.
        """
        chosen = free_folder(output(self.folder, "evaluation")) if folder is None else Path(folder)
        return write_evaluation(self.evaluation, chosen)


@dataclass(frozen=True)
class ComparedRuns:
    """Runs on the same tasks, by method, and the share of the gap to an oracle that they close."""

    runs: tuple[EvaluatedRun, ...]
    comparison: Comparison

    @staticmethod
    def of(runs: Sequence[EvaluatedRun]) -> ComparedRuns:
        """Compare runs; raises InputError if they were measured differently."""
        policies, folders = [run.saved for run in runs], [run.folder for run in runs]
        evaluations = [run.evaluation for run in runs]
        return ComparedRuns(tuple(runs), compare(policies, folders, evaluations))

    @property
    def gap(self) -> Gap | None:
        """Between robust policy and oracle, if exactly one of each is compared."""
        return Gap.among(self.comparison)

    def __str__(self) -> str:
        tables = [comparison_table(self.comparison), *([gap_table(self.gap)] if self.gap else [])]
        return "\n\n".join(tables)

    def summary(self) -> dict[str, Any]:
        """Plain JSON values, as in comparison.json."""
        return self.comparison.summary() | {"gap": self.gap.summary() if self.gap else None}

    def save(self, folder: Path | str | None = None) -> list[Path]:
        """Write comparison.json; with policies that adapt within an episode, its figure by time.

        Args:
            folder: None: `comparison` beside the first run, or the first free comparison-2, ...

        Returns:
            The files.
        """
        wanted = self.runs[0].folder.parent / "comparison"
        chosen = Path(folder) if folder else free_folder(wanted)
        return [
            write_comparison(self.comparison, chosen),
            *first_episodes(self.comparison, chosen),
        ]


@dataclass(frozen=True)
class DiagnosedFamily:
    """Evidence of whether adaptation can help on a family, with its runs."""

    diagnosis: Diagnosis
    folder: Path
    """Folder of the trained runs and of diagnosis.json."""
    runs: dict[str, list[Path]]
    """Runs by the names "robust" and "oracle"."""
    adapting: list[Path]
    """Adapting runs."""
    about: dict[str, Any] = field(default_factory=dict)
    """Sizes of the measurement."""

    def __str__(self) -> str:
        return self.diagnosis.text()

    def summary(self) -> dict[str, Any]:
        """Plain JSON values, as in diagnosis.json."""
        return self.diagnosis.summary() | self.about

    def save(self) -> list[Path]:
        """Write diagnosis.json into the folder; returns the files."""
        written = self.summary() | {
            "command": command_line(),
            "runs": {name: [str(path) for path in paths] for name, paths in self.runs.items()},
            "adapting_runs": [str(path) for path in self.adapting],
            "commit": git_commit(),
            "versions": versions(),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        return [write_json(self.folder / "diagnosis.json", written)]
