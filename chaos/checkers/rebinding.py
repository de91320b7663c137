"""Whether each name's claim, volume and data are its own throughout: what is bound to what, by UID."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain

from chaos.checkers.incarnations import Life, Volume


def claim_findings(life: Life) -> tuple[list[str], list[str]]:
    """(findings, doubts): the pod claims the same claims in each incarnation, and none is made anew."""
    findings, doubts = [], []
    first = life.incarnations[0]
    if not first.claims:
        findings.append(f"{life.name} has no claim, so that its volume is not its own")
    findings += [
        f"{life.name} claimed {sorted(first.claims)} as {first.uid}, but {sorted(later.claims)} as {later.uid}"
        for later in life.incarnations[1:]
        if later.claims != first.claims
    ]
    for claim, uids in life.claim_uids.items():
        if len(uids) > 1:
            findings.append(f"the claim {claim} of {life.name} was replaced: its UIDs were {', '.join(uids)}")
        elif not uids:
            doubts.append(f"the claim {claim} of {life.name} was never seen")
    return findings, doubts


def volume_findings(life: Life, volumes: dict[str, Volume], when: Callable[[int], str]) -> tuple[list[str], list[str]]:
    """(findings, doubts): each claim is bound to one volume, and that to no other claim.

    Where a history has no PersistentVolumes only what the claims say is judged.
    """
    findings, doubts = [], []
    for claim, bound in life.bindings.items():
        if len(bound) > 1:
            (_, first), (at, second) = bound[:2]
            findings.append(
                f"the claim {claim} of {life.name} was bound to {first} at first and to {second} {when(at)}"
            )
        uids = life.claim_uids[claim]
        for _, name in bound[: 1 if volumes else 0]:
            volume = volumes.get(name)
            if volume is None:
                doubts.append(f"the volume {name} of {life.name} was never seen")
                continue
            if len(volume.uids) > 1:
                findings.append(
                    f"the volume {name} of {life.name} was replaced: its UIDs were {', '.join(volume.uids)}"
                )
            findings += [
                f"the volume {name} of {life.name} was bound to the claim {other} ({uid}) {when(at)}"
                for at, other, uid in volume.claims
                if len(uids) == 1 and uid != uids[0]
            ]
            if not volume.claims:
                doubts.append(f"the volume {name} of {life.name} was never seen bound")
        if volumes and uids and not bound:
            doubts.append(f"no volume of the claim {claim} of {life.name} was seen")
    return findings, doubts


def shared(lives: Iterable[Life]) -> list[str]:
    """The volumes and markers that more than one name holds, a sentence each."""
    volumes: dict[str, set[str]] = {}
    markers: dict[tuple[str, str], set[str]] = {}
    for life in lives:
        for _, volume in chain(*life.bindings.values()):
            volumes.setdefault(volume, set()).add(life.name)
        for path, readings in life.markers.items():
            for text in {text for _, text in readings if text}:
                markers.setdefault((path, text), set()).add(life.name)
    found = [
        f"{' and '.join(sorted(names))} hold the same marker {text[:80]!r}: they share a volume"
        for (_, text), names in sorted(markers.items())
        if len(names) > 1
    ]
    return found + [
        f"{' and '.join(sorted(names))} have claimed the same volume {volume}"
        for volume, names in sorted(volumes.items())
        if len(names) > 1
    ]


def foreign_markers(lives: dict[str, Life]) -> list[str]:
    """The markers in which a server names another pod than the one that was asked, by its name or its UID."""
    owners = {incarnation.uid: name for name, life in lives.items() for incarnation in life.incarnations}
    owners |= {name: name for name in lives}
    found = []
    for name, life in sorted(lives.items()):
        for text in sorted({text for readings in life.markers.values() for _, text in readings if text}):
            named = {owners[word] for word in text.split() if word in owners}
            if named and name not in named:
                found.append(f"asked for {name}, {' and '.join(sorted(named))} answered: the marker is {text[:80]!r}")
    return found
