"""The report: runs compared on one self-contained HTML page, with its figures and numbers."""

from metarl.report.subject import Subject, study
from metarl.report.writer import write_report

__all__ = ["Subject", "study", "write_report"]
