"""junit.xml, for the machine that runs the tests."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import orjson

from chaos.report.results import ExperimentResult, RunInfo, Standing, culprit, put_in_place, standing

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, whichever way it is escaped (https://www.w3.org/TR/xml/#charsets)."""

_FAILURES = (Standing.INVALID, Standing.MISSED)
_ERRORS = (Standing.UNKNOWN, Standing.ERROR)


def write_junit(run: RunInfo, results: Sequence[ExperimentResult], path: Path) -> None:
    """Write junit.xml: INVALID is a failure, UNKNOWN an error, what this machine cannot do is skipped.

    A verdict outweighs pytest's outcome: a test whose experiment does not pass is never green here. A known-bad
    stack that was judged as expected passes. Experiments of tests that pytest did not report get a case too.
    """
    by_test: dict[str, list[ExperimentResult]] = {}
    for result in results:
        by_test.setdefault(result.scenario, []).append(result)
    known = {node_id for node_id, *_ in run.tests}
    cases = [_case(test, by_test.get(test[0], [])) for test in run.tests]
    cases += [_case((node_id, "", 0.0, ""), by_test[node_id]) for node_id in by_test if node_id not in known]
    suite = ET.Element("testsuite", name="kindstorm", timestamp=run.started_at, hostname=_text(run.host.get("name")))
    suite.append(_properties({"run_id": run.run_id, "command": run.command, "kubernetes": run.kubernetes}))
    suite.extend(cases)
    suite.set("tests", str(len(cases)))
    suite.set("time", f"{sum(seconds for _, _, seconds, _ in run.tests):.3f}")
    for tag, attribute in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(attribute, str(sum(case.find(tag) is not None for case in cases)))
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    put_in_place(path, ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _case(test: tuple[str, str, float, str], results: Sequence[ExperimentResult]) -> ET.Element:
    node_id, outcome, seconds, message = test
    module, _, name = node_id.partition("::")
    case = ET.Element(
        "testcase",
        classname=_text(module.removesuffix(".py").replace("/", ".")),
        name=_text(name or node_id),
        time=f"{seconds:.3f}",
    )
    tag = _tag(outcome, results)
    if tag:
        sentences = [f"{standing(r)}: {culprit(r)}" for r in results if not standing(r).passes]
        element = ET.SubElement(case, tag, message=_text("; ".join(sentences) or message))
        findings = [f"{v.checker}: {finding}" for r in results for v in r.verdicts for finding in v.findings]
        commands = [line for r in results for line in (r.run_again, r.judge_again)]
        diagnostics = [f"diagnostics: {r.diagnostics}" for r in results if r.diagnostics]
        element.text = _text("\n".join([message, *findings, *diagnostics, *commands]).strip())
    if results:
        case.append(_properties(_facts(results)))
    return case


def _tag(outcome: str, results: Sequence[ExperimentResult]) -> str | None:
    """The element that tells how a test went; None for one that passed."""
    places = {standing(result) for result in results}
    judged = any(result.verdicts for result in results)
    if places & set(_FAILURES):
        return "failure"
    if outcome in ("skipped", "xfailed", "unsupported") and not judged:
        return "skipped"
    if places & set(_ERRORS) or outcome == "error":
        return "error"
    return "failure" if outcome in ("failed", "xpassed") else None


def _facts(results: Sequence[ExperimentResult]) -> dict[str, str]:
    facts: dict[str, str] = {}
    for result in results:
        facts[f"{result.experiment}.seed"] = str(result.seed)
        facts[f"{result.experiment}.standing"] = str(standing(result))
        for verdict in result.verdicts:
            facts[f"{result.experiment}.{verdict.checker}"] = f"{verdict.outcome}: {verdict.summary}"
            options = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
            evidence = orjson.dumps(verdict.evidence, default=str, option=options).decode()
            facts[f"{result.experiment}.{verdict.checker}.evidence"] = evidence
    return facts


def _properties(facts: dict[str, str]) -> ET.Element:
    element = ET.Element("properties")
    for name, value in facts.items():
        ET.SubElement(element, "property", name=_text(name), value=_text(value))
    return element


def _text(value: object) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", "" if value is None else str(value))
