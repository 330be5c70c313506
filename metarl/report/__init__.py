"""The report: methods compared on one self-contained HTML page, with its figures and numbers."""

from metarl.report.measured_run import Subject, study
from metarl.report.studies import Study, gather
from metarl.report.writer import write_report

__all__ = ["Study", "Subject", "gather", "study", "write_report"]
