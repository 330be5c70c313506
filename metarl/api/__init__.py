"""The commands as functions: the same names and defaults, results instead of printed lines.

They print nothing unless `progress=True`, write only what they say, and raise `InputError` or
`RunError` where the command line ends with a message. `metarl.train` and the like are these.
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
