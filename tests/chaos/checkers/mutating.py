"""What can be made wrong with a sound history: changes of its records, and picks of the records that are changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from histories import ns

from chaos.history import Record

Pick = Callable[[Record], bool]
Change = Callable[[list[Record]], list[Record]]


def without(pick: Pick) -> Change:
    """The records that are picked were never written."""
    return lambda records: [record for record in records if not pick(record)]


def told(pick: Pick, **data: object) -> Change:
    """The records that are picked say something else."""
    return lambda records: [replace(r, data=r.data | data) if pick(r) else r for r in records]


def with_state(pick: Pick, **state: object) -> Change:
    """The objects that are picked are in another state."""
    return lambda records: [replace(r, data=r.data | {"state": r["state"] | state}) if pick(r) else r for r in records]


def shifted(pick: Pick, by_s: float) -> Change:
    """The records that are picked were written earlier or later."""
    return lambda records: [replace(r, time_ns=r.time_ns + ns(by_s)) if pick(r) else r for r in records]


def twice(pick: Pick, after_s: float, **data: object) -> Change:
    """The records that are picked come a second time, so many seconds later; ``data`` is different then."""

    def again(record: Record) -> Record:
        return replace(record, time_ns=record.time_ns + ns(after_s), data=record.data | data)

    return lambda records: [*records, *(again(record) for record in records if pick(record))]


def swapped(one: Pick, other: Pick) -> Change:
    """Two records, the first of each kind of pick, in each other's place."""

    def change(records: list[Record]) -> list[Record]:
        (first, second) = (next(filter(pick, records)) for pick in (one, other))
        times = {id(first): second.time_ns, id(second): first.time_ns}
        return [replace(record, time_ns=times.get(id(record), record.time_ns)) for record in records]

    return change


def gap(source: str, from_s: float, to_s: float) -> Change:
    """A source owns up to having been blind."""
    gone = {"what": "watch", "from_ns": ns(from_s), "to_ns": ns(to_s)}
    return lambda records: [*records, Record(ns(to_s), source, "gap", gone)]


def both(*changes: Change) -> Change:
    """One after the other."""

    def change(records: list[Record]) -> list[Record]:
        for each in changes:
            records = each(records)
        return records

    return change


def op(f: str | None, step: str | None = None, begin_s: float = 0, end_s: float = 99) -> Pick:
    """Steps of operations that ask for ``f`` (None: for anything), invoked or ended within these seconds."""

    def pick(record: Record) -> bool:
        asked = record.kind == "op" and f in (None, record["f"]) and step in (None, record["type"])
        return asked and ns(begin_s) <= record.time_ns < ns(end_s)

    return pick


def write(number: int, step: str | None = None) -> Pick:
    """The steps of one insert."""
    return lambda r: op("insert", step)(r) and r["value"] == number


def key(name: str, version: int, f: str, step: str | None = "ok") -> Pick:
    """The steps (None: all) of the reads that found this version of a key, or of the write of it."""

    def pick(record: Record) -> bool:
        value = record.get("value") or {}
        return op(f, step)(record) and (value.get("key"), value.get("version")) == (name, version)

    return pick


def of(uid: str, verb: str | None = None, begin_s: float = 0, end_s: float = 99) -> Pick:
    """What the watches told of one object."""
    return lambda r: (
        r.kind == "object" and r["uid"] == uid and verb in (None, r["verb"]) and ns(begin_s) <= r.time_ns < ns(end_s)
    )


def reading(probe: str, pod: str, begin_s: float = 0, end_s: float = 99) -> Pick:
    """The readings of a pod's DNS name or its marker."""
    return lambda r: (
        r.kind == "probe" and r["probe"] == probe and pod in r["target"] and ns(begin_s) <= r.time_ns < ns(end_s)
    )


def all_of(kind: str, begin_s: float = 0, end_s: float = 99) -> Pick:
    """What the watches told of every object of a kind."""
    return lambda r: r.kind == "object" and r["object"] == kind and ns(begin_s) <= r.time_ns < ns(end_s)


def asked(target: str, begin_s: float = 0, end_s: float = 99) -> Pick:
    """The readings of one name."""
    return lambda r: r.kind == "probe" and r["target"] == target and ns(begin_s) <= r.time_ns < ns(end_s)


def answered(pod: str, begin_s: float = 0) -> Pick:
    """The clients' answers that name a pod."""
    return lambda r: op(None, "ok", begin_s)(r) and r["value"].get("pod") == pod


def ran(uid: str, event: str) -> Pick:
    """What the nodes told of a pod's containers."""
    return lambda r: r.kind == "runtime" and (r["pod_uid"], r["event"]) == (uid, event)


def everything(uid: str) -> Pick:
    """What the watches and the nodes told of a pod."""
    return lambda r: uid in (r.get("uid"), r.get("pod_uid"))


def fact(name: str) -> Pick:
    """One of the facts."""
    return lambda r: r.kind == "fact" and r["name"] == name


def page(number: int, ids: Iterable[int]) -> Change:
    """A page of the verifying read holds other ids."""
    answer = {"page": number, "ids": list(ids), "last": number == 1}
    return told(lambda r: op("read_all", "ok")(r) and r["value"]["page"] == number, value=answer)
