"""What a run says: to people (report.html, the terminal) and to programs (results.json, junit.xml)."""

from chaos.report.compare import compare
from chaos.report.compare_page import render_comparison, write_comparison
from chaos.report.html import write_report
from chaos.report.index import write_index
from chaos.report.junit import write_junit
from chaos.report.results import ExperimentResult, RunInfo, Standing, standing
from chaos.report.results_file import runs_at, write_results
from chaos.report.terminal import render_summary

__all__ = [
    "ExperimentResult",
    "RunInfo",
    "Standing",
    "compare",
    "render_comparison",
    "render_summary",
    "runs_at",
    "standing",
    "write_comparison",
    "write_index",
    "write_junit",
    "write_report",
    "write_results",
]
