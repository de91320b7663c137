"""The document store as the load sees it: how it is reached, what an error leaves certain, what is in it."""

from __future__ import annotations

from typing import Any

from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from load.profiles import Workload

DATABASE = "kindstorm"
COLLECTION = "writes"

_BATCH = 10_000
_ERROR_CHARS = 200
_REDACTED = "(redacted)"

Documents = Collection[dict[str, Any]]


class Sending(CommandListener):
    """Knows whether an insert was put on its way. The driver tells before it hands the first byte to the socket."""

    def __init__(self) -> None:
        self.begun = False

    def started(self, event: CommandStartedEvent) -> None:
        """See CommandListener."""
        self.begun = self.begun or event.command_name == "insert"

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """See CommandListener."""

    def failed(self, event: CommandFailedEvent) -> None:
        """See CommandListener."""


def connect(target: str, workload: Workload, timeout_s: float, *listeners: CommandListener) -> Documents:
    """The collection at ``target`` over one connection; each step of asking is bounded by ``timeout_s``.

    Nothing is sent twice, and a write is acknowledged once it is in the one server's journal.
    """
    timeout_ms = max(1, round(timeout_s * 1000))
    client: MongoClient[dict[str, Any]] = MongoClient(
        target,
        username=workload.username,
        password=workload.password,
        directConnection=True,
        maxPoolSize=1,
        serverMonitoringMode="poll",
        serverSelectionTimeoutMS=timeout_ms,
        connectTimeoutMS=timeout_ms,
        socketTimeoutMS=timeout_ms,
        waitQueueTimeoutMS=timeout_ms,
        retryWrites=False,
        retryReads=False,
        w=1,
        journal=True,
        event_listeners=listeners,
    )
    return client[DATABASE][COLLECTION]


def fate(error: BaseException, begun: bool) -> str:
    """What an insert's error leaves certain: ``fail``, it did not happen; ``info``, nobody knows.

    It did not happen where it was never sent, or where the server had the key: keys are used once. Every other answer
    may have come from a server that had stored the document already.
    """
    return "fail" if not begun or isinstance(error, DuplicateKeyError) else "info"


def told(error: BaseException, workload: Workload) -> str:
    """The error in words, alike for alike errors: without the driver's settings, topology and any password."""
    text = f"{type(error).__name__}: {error}"
    for detail in (" (configured timeouts", ", Timeout: ", ", full error: "):
        text = text.partition(detail)[0]
    if workload.password is not None:
        text = text.replace(workload.password, _REDACTED)
    return " ".join(text.split())[:_ERROR_CHARS]


def read_ids(target: str, workload: Workload, timeout_s: float) -> list[int | str]:
    """Every document's id, over a connection of its own; an id that is neither number nor text as its repr."""
    collection = connect(target, workload, timeout_s)
    with collection.database.client, collection.find({}, {"_id": True}, batch_size=_BATCH) as found:
        ids = [document["_id"] for document in found]
    return [name if type(name) in (int, str) else repr(name) for name in ids]
