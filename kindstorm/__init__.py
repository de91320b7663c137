"""The public face: what the author of a scenario imports, the pytest plugin and the command line."""

from importlib.util import find_spec as _find_spec
from pathlib import Path as _Path

for _name in ("chaos", "images", "load"):
    _spec = _find_spec(_name)
    _found = _Path((_spec and _spec.origin) or _name).resolve()
    if _found.parents[1] != _Path(__file__).resolve().parents[1]:
        raise ImportError(
            f"kindstorm needs its own package {_name} and finds {_found}; run `pytest`, not `python -m pytest`, where "
            "that is a folder of yours, or give it another name"
        )
