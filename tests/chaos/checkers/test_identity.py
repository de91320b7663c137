"""Identity: names that keep what is theirs, names that do not, and names of which too little was seen."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from histories import NAMESPACE, Story, killed_pod, ns
from hypothesis import given
from hypothesis import strategies as st

from chaos.checkers import Outcome, Verdict, identity
from chaos.history import Json, Record


def judged(story: Story, pattern: str = "web-*", dns_s_max: float = 30, volumes: bool = True) -> Verdict:
    """The verdict on a story."""
    return identity(pattern, dns_s_max, volumes).check(story.history())


def named(kind: str, name: str, **fields: object) -> Callable[[Record], bool]:
    """Picks the object records of one kind and name with these fields."""
    return lambda r: (
        r.kind == "object" and (r["object"], r["name"]) == (kind, name) and fields.items() <= r.data.items()
    )


def readings(probe: str, pod: str, begin_s: float = 0, end_s: float = 99) -> Callable[[Record], bool]:
    """Picks one pod's readings of a probe in a span of time."""
    return lambda r: (
        r.kind == "probe" and r["probe"] == probe and pod in r["target"] and begin_s <= r.time_ns / 1e9 < end_s
    )


def test_a_replaced_pod_that_kept_everything_is_valid() -> None:
    """New UID and IP, same claim, same marker, its DNS name followed: VALID, with the table beside it."""
    verdict = judged(killed_pod())
    assert verdict.outcome is Outcome.VALID
    row = verdict.evidence["pods"]["web-1"]
    assert row["uids"] == ["web-1-a", "web-1-b"]
    assert row["ips"] == [["ip-web-1-a"], ["ip-web-1-b"]]
    assert row["claim_uids"] == {"data-web-1": ["claim-1"]}
    assert row["markers"] == {"web:80/marker": ["born as web-1"]}
    assert row["dns_delay_ms"] == [[pytest.approx(9), pytest.approx(510)]]
    assert verdict.evidence["pods"]["web-0"]["uids"] == ["web-0-a"]


def test_the_removal_of_the_stack_is_no_finding() -> None:
    """What happens to pods and readings once the stack is taken down is left out."""
    story = killed_pod().pod(43.5, "web-0", "web-0-z").dns(43.5, "web-0", rcode="NXDOMAIN")
    assert judged(story.marker(43.5, "web-0", "other")).outcome is Outcome.VALID


@pytest.mark.parametrize(
    ("mutate", "finding"),
    [
        (lambda s: s.pod(23, "web-1", "web-1-a"), "web-1 had two UIDs at once, web-1-a and web-1-b, 3.00 s after"),
        (lambda s: s.pod(19, "web-0", "web-0-z", "added"), "web-0 had two UIDs at once"),
        (
            lambda s: s.pod(22, "web-0", "web-0-a", "deleted").pod(22.5, "web-0", "web-0-z", "added"),
            "web-0 was no target of a fault, yet it was replaced 2.50 s after",
        ),
        (
            lambda s: s.pod(15, "web-1", "web-1-a", "deleted").pod(15.5, "web-1", "web-1-z", "added"),
            "web-1 was no target of a fault, yet it was replaced 4.50 s before",
        ),
        (lambda s: s.without(lambda r: r.get("uid") == "web-1-b"), "web-1 was not replaced after kill_pod on Pod"),
        (
            lambda s: s.seen(21, "PersistentVolumeClaim", "data-web-1", "claim-new", {}),
            "the claim data-web-1 of web-1 was replaced: its UIDs were claim-1, claim-new",
        ),
        (
            lambda s: (
                s.without(named("Pod", "web-1", uid="web-1-b"))
                .pod(22, "web-1", "web-1-b", claims=["data-web-0"])
                .pod(44, "web-1", "web-1-b", "deleted")
            ),
            "web-1 claimed ['data-web-1'] as web-1-a, but ['data-web-0'] as web-1-b",
        ),
        (
            lambda s: s.without(named("Pod", "web-0")).pod(1, "web-0", "web-0-a", "added", claims=[]),
            "web-0 has no claim",
        ),
        (lambda s: s.marker(35, "web-1", "born again"), "held 'born as web-1' at first and 'born again' 15.00 s after"),
        (lambda s: s.marker(35, "web-1", "", status=404), "held 'born as web-1' at first and 'None'"),
        (lambda s: s.marker(35, "web-1", "  "), "held 'born as web-1' at first and 'None'"),
        (lambda s: s.marker(9, "web-7", "x").without(readings("http", "web-2")).marker(9, "web-2", "born as web-0"),
         "web-0 and web-2 hold the same marker 'born as web-0'"),
        (lambda s: s.dns(39, "web-0", "ip-web-2-a"), "the DNS name of web-0 still gave ip-web-2-a instead of"),
        (lambda s: s.dns(39, "web-0", rcode="NXDOMAIN"), "still gave NXDOMAIN instead of ip-web-0-a"),
        (lambda s: s.dns(39, "web-0", "ip-web-0-a", "ip-web-2-a"), "still gave ip-web-0-a, ip-web-2-a instead of"),
    ],
)  # fmt: skip
def test_a_broken_identity_is_invalid_and_named(mutate: Callable[[Story], Story], finding: str) -> None:
    """Each way to lose one's identity is found on its own and says whose, what and when."""
    verdict = judged(mutate(killed_pod()))
    assert verdict.outcome is Outcome.INVALID
    assert any(finding in text for text in verdict.findings), verdict.findings


def test_a_volume_that_was_lost_is_invalid() -> None:
    """A pod that comes back with an empty volume wrote a new marker: its data is gone."""
    verdict = judged(killed_pod(new_marker="born as web-1, again"))
    assert verdict.outcome is Outcome.INVALID
    assert "the volume of web-1 held" in verdict.summary


def test_a_dns_name_that_follows_too_late_is_invalid() -> None:
    """The bound counts from the pod's readiness; the last wrong answer was certainly beyond it."""
    late = killed_pod(dns_s=32)
    assert judged(late, dns_s_max=15).outcome is Outcome.VALID
    verdict = judged(late, dns_s_max=5)
    assert verdict.outcome is Outcome.INVALID
    assert "the DNS name of web-1 still gave ip-web-1-a instead of ip-web-1-b 9.5 s after web-1-b became ready" in (
        verdict.summary
    )


@pytest.mark.parametrize(("follows_s", "outcome"), [(30.6, Outcome.VALID), (36, Outcome.INVALID)])
def test_a_pod_may_get_another_address_and_stay_ready(follows_s: float, outcome: Outcome) -> None:
    """Its node was started anew, say: the name must follow that too, within the bound."""
    story = killed_pod().pod(30, "web-1", "web-1-b", ip="ip-new")
    asked = [r for r in story.records if r.kind == "probe" and r["target"].startswith("web-1.")]
    for record in asked:
        if record.time_ns >= follows_s * 1e9:
            record["value"]["answers"] = ["ip-new"]
    assert judged(story, dns_s_max=5).outcome is outcome


def test_a_bound_between_two_readings_is_unknown() -> None:
    """The last wrong answer came before the bound, the first right one after it: nobody knows."""
    story = killed_pod().without(readings("dns", "web-1", 22, 30))
    assert judged(story.dns(23, "web-1", "ip-web-1-a"), dns_s_max=3).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("mutate", "reason"),
    [
        (lambda s: s.without(lambda r: r.get("object") == "Pod"), "web-0 was never seen"),
        (lambda s: s.without(named("Pod", "web-2")), "web-2 was never seen"),
        (lambda s: s.without(readings("dns", "web-1")), "no time before the fault is known at which the DNS name"),
        (lambda s: s.without(readings("dns", "web-1", 20)), "no time after the fault is known at which the DNS name"),
        (
            lambda s: s.without(readings("http", "web-1", 0, 20)),
            "no time before the fault is known at which the marker",
        ),
        (lambda s: s.without(readings("http", "web-1", 20)), "no time after the fault is known at which the marker"),
        (lambda s: s.without(named("PersistentVolumeClaim", "data-web-1")), "the claim data-web-1 of web-1 was never"),
        (lambda s: s.gap("api:Pod", 12, 13), "api:Pod may have missed something"),
        (lambda s: s.gap("api:PersistentVolumeClaim", 12, None), "for the rest of the run"),
        (
            lambda s: s.without(named("Pod", "web-1", uid="web-1-b")).gap("api:Pod", 21, 23),
            "neither the end of web-1-a",
        ),
        (
            lambda s: s.without(lambda r: r.get("uid") == "web-1-b" or named("Pod", "web-1", verb="deleted")(r)),
            "neither the end of web-1-a nor a new UID was seen",
        ),
        (
            lambda s: s.without(named("Pod", "web-1", uid="web-1-a")).without(readings("dns", "web-1", 0, 22)),
            "web-1 was not seen before the fault",
        ),
    ],
)
def test_too_little_seen_is_unknown(mutate: Callable[[Story], Story], reason: str) -> None:
    """Each piece of least evidence, taken away on its own, makes the verdict UNKNOWN and is named in it."""
    verdict = judged(mutate(killed_pod()))
    assert verdict.outcome is Outcome.UNKNOWN, verdict.summary
    assert reason in verdict.summary


def test_a_pattern_that_matches_nothing_is_unknown() -> None:
    """A misspelt name passes nothing."""
    verdict = judged(killed_pod(), "wbe-*")
    assert verdict.outcome is Outcome.UNKNOWN
    assert "no pod of a StatefulSet matches wbe-*" in verdict.summary


def test_pods_of_others_are_left_out() -> None:
    """A Deployment's pods and another namespace's have no identity to keep here."""
    story = killed_pod().pod(23, "web-x", "x-a", owner="ReplicaSet/web")
    assert "web-x" not in judged(story).evidence["pods"]


def test_another_namespaces_pods_are_left_out() -> None:
    """A pod of the same name elsewhere is somebody else."""
    state = {"owner": {"kind": "StatefulSet", "name": "web"}, "ready": True}
    fields = {"verb": "added", "object": "Pod", "namespace": "x", "name": "web-0", "uid": "other", "state": state}
    assert judged(killed_pod().tell(15, "api:Pod", "object", **fields)).outcome is Outcome.VALID


def test_two_uids_at_once_are_in_doubt_where_the_watch_was_blind() -> None:
    """Where the watch may have missed the end of the first one, nobody knows that there were two."""
    blind = killed_pod().without(named("Pod", "web-1", verb="deleted")).gap("api:Pod", 20.15, 20.25)
    verdict = judged(blind)
    assert verdict.outcome is Outcome.UNKNOWN
    assert "two UIDs at once" in verdict.summary


def test_only_the_watches_must_not_have_been_blind() -> None:
    """A gap of a source that tells nothing about identities does no harm."""
    assert judged(killed_pod().gap("api:Node", 21, 22)).outcome is Outcome.VALID


def test_an_answer_that_says_nothing_is_not_held_against_the_name() -> None:
    """A DNS server that cannot tell, and a server that fails, are outages and not wrong answers."""
    story = killed_pod().dns(39, "web-0", rcode="SERVFAIL").marker(39, "web-0", "oops", status=503)
    assert judged(story).outcome is Outcome.VALID


def test_without_volumes_neither_claims_nor_markers_are_asked_for() -> None:
    """A StatefulSet that keeps no data still has its names."""
    story = killed_pod(new_marker="new").without(lambda r: r.get("object") == "PersistentVolumeClaim")
    assert judged(story, volumes=False).outcome is Outcome.VALID


@pytest.mark.parametrize("target", [{"kind": "StatefulSet", "name": "web"}, {"kind": "Node", "name": "worker"}])
def test_pods_of_a_hit_workload_or_node_may_be_replaced(target: dict[str, str]) -> None:
    """A fault on the StatefulSet or on a pod's node explains the replacement, one on another node does not."""
    for name, expected in ((target["name"], Outcome.VALID), ("elsewhere", Outcome.INVALID)):
        story = killed_pod().without(lambda r: r.kind == "fault").fault("drain", target | {"name": name})
        assert judged(story).outcome is expected


def all_killed(*names: str) -> Story:
    """A run in which these pods were the target of one fault, and web-1 was replaced."""
    pods = [{"name": name, "uid": f"{name}-a"} for name in names]
    target = {"kind": "Pods", "name": "web*", "pods": pods}
    return killed_pod().without(lambda r: r.kind == "fault").fault("kill_all_pods", target, effect={"gone": True})


def test_each_pod_of_a_common_fault_is_a_target() -> None:
    """A pod among several that were killed may be replaced, and one that was not among them may not."""
    assert judged(all_killed("web-1")).outcome is Outcome.VALID
    verdict = judged(all_killed("web-0", "web-2"))
    assert verdict.outcome is Outcome.INVALID
    assert any("web-1 was no target of a fault" in text for text in verdict.findings)


def test_each_pod_of_a_common_fault_must_come_back() -> None:
    """A killed pod that is gone and has no successor is named; one of which neither was seen is in doubt."""
    story = all_killed("web-0", "web-1").pod(20.2, "web-0", "web-0-a", "deleted", ready=False)
    verdict = judged(story)
    assert verdict.outcome is Outcome.INVALID
    assert any("web-0 was not replaced after kill_all_pods on Pods web*" in text for text in verdict.findings)
    verdict = judged(all_killed("web-0", "web-1").without(lambda r: r.time_ns > 42.9e9 and r.kind == "object"))
    assert verdict.outcome is Outcome.UNKNOWN
    assert "neither the end of web-0-a nor a new UID was seen" in verdict.summary


def test_a_node_fault_touches_what_was_on_the_node_then() -> None:
    """A pod that came to the node after the fault, or had left it before, is not excused by it."""
    for node, first in (("elsewhere", "worker"), ("worker", "elsewhere")):
        story = killed_pod().without(lambda r: r.kind == "fault" or named("Pod", "web-1")(r))
        story.fault("drain_node", {"kind": "Node", "name": "worker"}, effect={"gone": True})
        story.pod(1, "web-1", "web-1-a", "added", node=first)
        story.pod(30, "web-1", "web-1-a", "deleted", ready=False, node=first)
        story.pod(31, "web-1", "web-1-b", "added", node=node).pod(44, "web-1", "web-1-b", "deleted", ready=False)
        blamed = any("web-1 was no target of a fault" in text for text in judged(story).findings)
        assert blamed is (first == "elsewhere")
    story.pod(0.5, "web-1", "web-1-z", "added").pod(0.9, "web-1", "web-1-z", "deleted", ready=False)
    assert any("yet it was replaced 11.00 s after" in text for text in judged(story).findings)


def bound(*without: int) -> Story:
    """The run of a killed pod, as newer histories tell it: each claim names its volume, and volumes are watched."""
    story = killed_pod()
    for number in range(3):
        claim = f"data-web-{number}"
        story.seen(1.2, "PersistentVolumeClaim", claim, f"claim-{number}", {"phase": "Bound", "volume": f"pv-{number}"})
        if number not in without:
            volume(story, 0.9, number, None)
            volume(story, 1.1, number)
    return story


def volume(story: Story, at_s: float, number: int, claim: str | None = "", uid: str | None = None) -> Story:
    """Add what a watch told of a volume; bound to its own claim unless another one, or none, is given."""
    claim = f"claim-{number}" if claim == "" else claim
    told = {"namespace": NAMESPACE, "name": f"data-web-{number}", "uid": claim} if claim else None
    state = {"phase": "Bound" if claim else "Available", "claim": told}
    name = f"pv-{number}"
    kind = "PersistentVolume"
    return story.tell(at_s, f"api:{kind}", "object", verb="modified", object=kind, namespace=None, name=name,
                      uid=uid or f"{name}-uid", state=state)  # fmt: skip


def test_volumes_that_stayed_are_valid() -> None:
    """Ordinal, UID, claim, volume: the whole chain is in the evidence."""
    verdict = judged(bound())
    assert verdict.outcome is Outcome.VALID, verdict.summary
    assert verdict.evidence["pods"]["web-1"]["volumes"] == {"data-web-1": ["pv-1"]}
    assert verdict.evidence["persistent_volumes"] == 3
    assert judged(volume(bound(), 43, 1, "other")).outcome is Outcome.VALID  # the removal


@pytest.mark.parametrize(
    ("story", "finding"),
    [
        (bound().seen(22, "PersistentVolumeClaim", "data-web-1", "claim-1", {"volume": "pv-9"}),
         "the claim data-web-1 of web-1 was bound to pv-1 at first and to pv-9 2.00 s after the injection"),
        (bound().without(lambda r: r.get("name") == "data-web-1" and r.kind == "object").seen(
            1.2, "PersistentVolumeClaim", "data-web-1", "claim-1", {"volume": "pv-0"}),
         "web-0 and web-1 have claimed the same volume pv-0"),
        (volume(bound(), 22, 1, "claim-0"), "the volume pv-1 of web-1 was bound to the claim run-1/data-web-1 (clai"),
        (volume(bound(), 22, 1, uid="another"), "the volume pv-1 of web-1 was replaced: its UIDs were pv-1-uid, ano"),
        (killed_pod().without(readings("http", "web")).marker(9, "web-1", "web-2 web-2"),
         "asked for web-1, web-2 answered: the marker is 'web-2 web-2"),
        (killed_pod(new_marker="served by web-0-a"), "asked for web-1, web-0 answered: the marker is 'served by"),
    ],
)  # fmt: skip
def test_a_volume_that_changed_hands_is_invalid_and_named(story: Story, finding: str) -> None:
    """Another volume, a shared one, one bound to another claim, one made anew, and a server that is somebody else."""
    verdict = judged(story)
    assert verdict.outcome is Outcome.INVALID
    assert any(finding in text for text in verdict.findings), verdict.findings


@pytest.mark.parametrize(
    ("story", "reason"),
    [
        (bound(1), "the volume pv-1 of web-1 was never seen"),
        (volume(bound(1), 1, 1, None), "the volume pv-1 of web-1 was never seen bound"),
        (volume(killed_pod(), 1, 1), "no volume of the claim data-web-1 of web-1 was seen"),
        (bound().gap("api:PersistentVolume", 12, 13), "api:PersistentVolume may have missed something"),
    ],
)
def test_a_volume_of_which_too_little_was_seen_is_unknown(story: Story, reason: str) -> None:
    """Where volumes are watched each pod's own must have been seen."""
    verdict = judged(story)
    assert verdict.outcome is Outcome.UNKNOWN, verdict.summary
    assert reason in verdict.summary


def again(story: Story, at_s: float, uid: str = "web-1-c", before: str = "web-1-b", **state: object) -> Story:
    """Replace web-1 once more; everything follows at once."""
    story.pod(at_s, "web-1", before, "deleted", ready=False)
    story.pod(at_s + 0.1, "web-1", uid, "added", ready=False, **state).pod(at_s + 0.2, "web-1", uid, **state)
    for record in story.records:
        if readings("dns", "web-1", at_s + 0.3)(record):
            record["value"]["answers"] = [f"ip-{uid}"]
    return story


@pytest.mark.parametrize(
    ("target", "outcome"),
    [
        ({"kind": "Pod", "name": "web-1", "uid": "web-1-b"}, Outcome.VALID),
        ({"kind": "Pod", "name": "web-1", "uid": "web-1-a"}, Outcome.INVALID),
        ({"kind": "Pods", "name": "*", "pods": [{"name": "web-1", "uid": "web-1-b"}]}, Outcome.VALID),
        ({"kind": "Node", "name": "worker"}, Outcome.VALID),
        ({"kind": "Node", "name": "elsewhere"}, Outcome.INVALID),
        ({"kind": "StatefulSet", "name": "web"}, Outcome.VALID),
        ({"kind": "StatefulSet", "name": "other"}, Outcome.INVALID),
    ],
)
def test_each_hit_explains_one_replacement(target: dict[str, Json], outcome: Outcome) -> None:
    """A second fault that hit the second incarnation explains a third one; one that hit something else does not."""
    story = again(killed_pod(), 30).fault("another", target, 29.9, 30.5)
    verdict = judged(story)
    assert verdict.outcome is outcome, verdict.summary
    if outcome is Outcome.INVALID:
        assert verdict.findings == (
            "web-1 was replaced once more, and by no fault, 0.20 s after the injection of another on "
            f"{target['kind']} {target['name']} (web-1-b by web-1-c)",
        )


def test_a_hit_is_spent() -> None:
    """A pod that was killed once and replaced twice was replaced by somebody else the second time."""
    verdict = judged(again(killed_pod(), 30))
    assert verdict.outcome is Outcome.INVALID
    assert verdict.findings == (
        "web-1 was replaced once more, and by no fault, 10.10 s after the injection of kill_pod on Pod web-1 "
        "(web-1-b by web-1-c)",
    )


@pytest.mark.parametrize(("revision", "outcome"), [("r2", Outcome.VALID), ("r1", Outcome.INVALID)])
def test_an_update_explains_itself(revision: str, outcome: Outcome) -> None:
    """Where a fault is on the StatefulSet a new revision is a reason, as often as there is one."""
    story = killed_pod().without(lambda r: r.kind == "fault")
    story.fault("rolling_update", {"kind": "StatefulSet", "name": "web"})
    for record in story.records:
        if str(record.get("uid")).startswith("web-1-"):
            record["state"]["labels"] = {"controller-revision-hash": "r1"}
    again(story, 30, labels={"controller-revision-hash": revision})
    assert judged(story).outcome is outcome


def test_pods_that_a_fault_adds_need_no_past() -> None:
    """web-3 comes with scaling and goes with its end: of it nothing is asked before and after, but its claim is."""
    story = killed_pod().fault("scale", {"kind": "StatefulSet", "name": "web"}, 31, 36)
    story.seen(32, "PersistentVolumeClaim", "data-web-3", "claim-3", {})
    story.pod(32, "web-3", "web-3-a", "added", ready=False).pod(33, "web-3", "web-3-a")
    story.pod(36, "web-3", "web-3-a", "deleted", ready=False)
    verdict = judged(story)
    assert verdict.outcome is Outcome.VALID, verdict.summary
    assert verdict.summary.endswith("1 replacements; web-3 came with a fault, and took nothing of theirs")
    story.seen(35, "PersistentVolumeClaim", "data-web-3", "claim-new", {})
    assert judged(story).outcome is Outcome.INVALID


@given(st.data())
def test_replacements_are_explained_one_by_one(data: st.DataObject) -> None:
    """Whatever incarnations there are and whichever of them were killed: each one that was not is a finding."""
    names = [f"web-1-{letter}" for letter in "abcdefg"[: data.draw(st.integers(2, 7))]]
    killed = data.draw(st.sets(st.sampled_from(names)))
    story = (
        Story().phases(fault=(11, 35), recover=(35, 36), after=(36, 40)).fact("experiment", {"namespace": NAMESPACE})
    )
    for number, (old, new) in enumerate(pairwise(names)):
        at_s = 12 + 3 * number
        story.pod(at_s - 2, "web-1", old)
        if old in killed:
            story.fault(target={"kind": "Pod", "name": "web-1", "uid": old}, inject_s=at_s, heal_s=at_s + 0.5)
        story.pod(at_s + 0.1, "web-1", old, "deleted", ready=False).pod(at_s + 0.2, "web-1", new, "added", ready=False)
    verdict = judged(story, volumes=False)
    unexplained = [f"({old} by {new})" for old, new in pairwise(names) if old not in killed]
    assert [text[text.rindex("(") :] for text in verdict.findings if "replaced" in text] == unexplained


@pytest.mark.parametrize(("pattern", "dns_s_max"), [("", 30), ("web-*", 0)])
def test_senseless_parameters_are_refused(pattern: str, dns_s_max: float) -> None:
    """No pattern, or no time to follow, is the author's mistake."""
    with pytest.raises(ValueError, match="pattern"):
        identity(pattern, dns_s_max)


def test_a_service_that_is_called_as_a_pod_is_not_the_pods_name() -> None:
    """A Service for one pod, under the pod's name, has an address of its own: that is no wrong answer of the pod's."""
    story = killed_pod()
    for at_s in range(6, 40):
        value = {"answers": ["10.96.0.9"], "rcode": "NOERROR"}
        target = f"web-1.{NAMESPACE}.svc.cluster.local"
        times = {"send_ns": ns(at_s), "receive_ns": ns(at_s + 0.1)}
        story.tell(at_s + 0.1, "probe", "probe", probe="dns", target=target, value=value, error=None, **times)
    assert judged(story).outcome is Outcome.VALID


@pytest.mark.parametrize(("at_s", "outcome"), [(20.04, Outcome.INVALID), (20.09, Outcome.VALID)])
def test_the_dns_may_hear_of_a_pods_end_before_our_watch_tells_of_it(at_s: float, outcome: Outcome) -> None:
    """Told at 20.1 s, it was published after the read of 20.05 s: since then it need not have an address."""
    assert judged(killed_pod().dns(at_s, "web-1", rcode="NXDOMAIN"), dns_s_max=5).outcome is outcome
