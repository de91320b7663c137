"""What the README shows is what there is."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_scenario_in_the_readme_is_the_file() -> None:
    """It says that this is all of it."""
    readme = (ROOT / "README.md").read_text()
    name, shown = re.findall(r"This is all of \[(\S+)\].*?```python\n(.*?)```", readme, re.DOTALL)[0]
    assert shown == (ROOT / name).read_text()
