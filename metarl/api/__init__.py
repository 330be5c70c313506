"""The commands as functions, such as `metarl.train`: same names and defaults, returned results.

They print nothing unless `progress=True`, and raise `InputError` or `RunError` where the command
line prints an error.
"""

from metarl.api.diagnosing import diagnose
from metarl.api.measuring import compare, evaluate
from metarl.api.results import ComparedRuns, DiagnosedFamily, EvaluatedRun
from metarl.api.resuming import resume
from metarl.api.run import Run
from metarl.api.training import baseline, train

__all__ = [
    "ComparedRuns",
    "DiagnosedFamily",
    "EvaluatedRun",
    "Run",
    "baseline",
    "compare",
    "diagnose",
    "evaluate",
    "resume",
    "train",
]
