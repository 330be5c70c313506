"""The report: methods compared on one self-contained HTML page, with its figures and numbers."""

from metarl.report.groups import Study, gather
from metarl.report.subject import Subject, study
from metarl.report.writer import write_report

__all__ = ["Study", "Subject", "gather", "study", "write_report"]
