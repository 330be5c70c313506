"""What measuring returns: objects that print as the commands do, and save the same files."""

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
from metarl.report.curves import write_comparison, write_evaluation
from metarl.runs.checkpoint import SavedPolicy
from metarl.runs.files import write_json
from metarl.runs.places import free_folder, output
from metarl.versions import git_commit, versions


@dataclass(frozen=True)
class EvaluatedRun:
    """A run's adaptation curves: what a policy returns before and after adaptation."""

    folder: Path
    """Of the run, or of the policy."""
    saved: SavedPolicy
    evaluation: Evaluation
    """Every number, by split."""

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
    """Runs on the same tasks, by method, and how much of the gap to an oracle they close."""

    runs: tuple[EvaluatedRun, ...]
    comparison: Comparison

    @staticmethod
    def of(runs: Sequence[EvaluatedRun]) -> ComparedRuns:
        """The comparison of runs that were measured alike.

        Raises:
            InputError: if they were not.
        """
        policies, folders = [run.saved for run in runs], [run.folder for run in runs]
        found = compare(policies, folders, [run.evaluation for run in runs])
        return ComparedRuns(tuple(runs), found)

    @property
    def gap(self) -> Gap | None:
        """Between robust policy and oracle, where exactly one of each is compared."""
        return Gap.among(self.comparison)

    def __str__(self) -> str:
        tables = [comparison_table(self.comparison), *([gap_table(self.gap)] if self.gap else [])]
        return "\n\n".join(tables)

    def summary(self) -> dict[str, Any]:
        """Plain JSON values, as in comparison.json."""
        return self.comparison.summary() | {"gap": self.gap.summary() if self.gap else None}

    def save(self, folder: Path | str | None = None) -> list[Path]:
        """Write comparison.json.

        Args:
            folder: None: `comparison` beside the first run, or the first free comparison-2, ...

        Returns:
            The files.
        """
        wanted = self.runs[0].folder.parent / "comparison"
        return [write_comparison(self.comparison, Path(folder) if folder else free_folder(wanted))]


@dataclass(frozen=True)
class DiagnosedFamily:
    """Whether adaptation can matter on a family, with the runs that say so."""

    diagnosis: Diagnosis
    folder: Path
    """Of the runs that were trained, and of diagnosis.json."""
    runs: dict[str, list[Path]]
    """Robust runs and oracles, by those names."""
    adapting: list[Path]
    """Runs whose gain was asked about."""
    about: dict[str, Any] = field(default_factory=dict)
    """How it was measured."""

    def __str__(self) -> str:
        return self.diagnosis.text()

    def summary(self) -> dict[str, Any]:
        """Plain JSON values, as in diagnosis.json."""
        return self.diagnosis.summary() | self.about

    def save(self) -> list[Path]:
        """Write diagnosis.json into the folder.

        Returns:
            The files.
        """
        written = self.summary() | {
            "command": command_line(),
            "runs": {name: [str(path) for path in paths] for name, paths in self.runs.items()},
            "adapting_runs": [str(path) for path in self.adapting],
            "commit": git_commit(),
            "versions": versions(),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        return [write_json(self.folder / "diagnosis.json", written)]
