"""What a run says: to people (report.html, the terminal) and to programs (verdicts.json, junit.xml)."""

from chaos.report.html import write_report
from chaos.report.junit import write_junit
from chaos.report.results import ExperimentResult, RunInfo, Standing, standing, write_verdicts
from chaos.report.terminal import render_summary

__all__ = [
    "ExperimentResult",
    "RunInfo",
    "Standing",
    "render_summary",
    "standing",
    "write_junit",
    "write_report",
    "write_verdicts",
]
