"""What is this repository's own: everything a scenario needs comes from the installed plugin."""

from __future__ import annotations

import pytest

QUICKEST = "scenarios/test_self_healing.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the quickest scenario before the others: what is wrong with a machine shows there first."""
    scenarios = [number for number, item in enumerate(items) if item.nodeid.startswith("scenarios/")]
    ordered = sorted((items[number] for number in scenarios), key=lambda item: not item.nodeid.startswith(QUICKEST))
    for number, item in zip(scenarios, ordered, strict=True):
        items[number] = item
