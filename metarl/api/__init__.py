"""The commands as functions, such as `metarl.train`: same names and defaults, returned results.

They print nothing unless `progress=True`, and raise `InputError` or `RunError` where the command
line prints an error.
"""

from metarl.api.diagnosing import diagnose as diagnose
from metarl.api.measuring import compare as compare
from metarl.api.measuring import evaluate as evaluate
from metarl.api.recording import record as record
from metarl.api.results import ComparedRuns as ComparedRuns
from metarl.api.results import DiagnosedFamily as DiagnosedFamily
from metarl.api.results import EvaluatedRun as EvaluatedRun
from metarl.api.resuming import resume as resume
from metarl.api.run import Run as Run
from metarl.api.training import baseline as baseline
from metarl.api.training import train as train
