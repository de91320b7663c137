"""The pages: templates, one style, files that need neither a network nor a server."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from chaos.history import Json
from chaos.report.evidence import cell
from chaos.report.results import SYMBOLS, put_in_place


def write_page(template: str, path: Path, **context: Json) -> None:
    """Render a template of this package into a file, whole or not at all."""
    environment = Environment(
        loader=PackageLoader("chaos.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = cell
    environment.filters["slug"] = lambda value: str(value).lower().replace(" ", "-")
    page = environment.get_template(template).render(symbols=SYMBOLS, css=packaged("report.css"), **context)
    put_in_place(path, page.encode())


def packaged(*names: str) -> Markup:
    """Files of this package as they are, one after another: our own, hence markup."""
    folder = resources.files("chaos.report")
    return Markup("\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names))  # noqa: S704


def script_json(value: Json) -> Markup:
    """JSON that cannot end the script element it stands in, whatever names it holds."""
    text = orjson.dumps(value).decode()
    safe = text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return Markup(safe)  # noqa: S704 - nothing that HTML gives a meaning is left in it
