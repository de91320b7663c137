"""What must be undone is on disk before it is done, and leaves the disk only once it is undone.

An entry is self-contained data: a verb that :mod:`chaos.undo` knows, and its arguments. So it can be undone by
another process long after the one that did it was killed.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from chaos.errors import HistoryError
from images import cache


@dataclass(frozen=True)
class Entry:
    """One thing to undo in one cluster."""

    cluster: str
    verb: str
    arguments: dict[str, Any]
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def path(self) -> Path:
        """Its file."""
        return folder() / f"{self.id}.json"


def folder() -> Path:
    """Where entries stand, one file each."""
    return cache.folder("journal")


def plan(entry: Entry) -> None:
    """Put an entry on disk; returns once it would survive a crash."""
    partial = entry.path.with_suffix(".partial")
    data = {"cluster": entry.cluster, "verb": entry.verb, "arguments": entry.arguments, "id": entry.id}
    try:
        with partial.open("wb") as file:
            file.write(orjson.dumps(data))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(entry.path)
    finally:
        partial.unlink(missing_ok=True)
    directory = os.open(folder(), os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def done(entry: Entry) -> None:
    """Take an entry off; a second time does nothing."""
    entry.path.unlink(missing_ok=True)


def pending(cluster: str | None = None) -> list[Entry]:
    """What is still to be undone (in one cluster), oldest first; raises HistoryError for a file that is no entry."""
    entries = []
    for path in sorted(folder().glob("*.json"), key=lambda p: p.stat().st_mtime_ns):
        try:
            entry = Entry(**orjson.loads(path.read_bytes()))
        except (orjson.JSONDecodeError, TypeError) as error:
            raise HistoryError(f"{path} is no journal entry; look at it and remove it") from error
        if cluster in (None, entry.cluster):
            entries.append(entry)
    return entries
