"""Quiescence: clusters as they were, clusters with something left behind, and clusters nobody looked at."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from histories import BASELINE, Story, edge, killed_pod

from chaos.checkers import Outcome, Verdict, quiescence
from chaos.history import Json


def judged(story: Story) -> Verdict:
    """The verdict on a story."""
    return quiescence().check(story.history())


def after(**changed: Json) -> Story:
    """A run whose cluster differs afterwards in these parts of the baseline."""
    return killed_pod().fact("baseline_after", BASELINE | changed)


def node(**changed: Json) -> dict[str, Json]:
    """The baseline's node with some of its state changed."""
    return {"worker": BASELINE["nodes"]["worker"] | changed}


def baseline_read(story: Story, at_s: float) -> Story:
    """The baseline after the run was read at this time; a fault was healed at 42.3 s."""
    story.fault("late", {"kind": "Node", "name": "worker"}, 42, 42.2 if at_s > 42 else 41.5)
    story.without(lambda r: r.get("name") == "baseline_after")
    return story.tell(at_s, "harness", "fact", name="baseline_after", value=BASELINE)


def uncounted() -> dict[str, Json]:
    """A baseline for which nobody counted the escaped packets."""
    return {key: value for key, value in BASELINE.items() if key != "escaped_packets"}


def test_an_unchanged_cluster_is_valid() -> None:
    """The same nodes, namespaces, volumes and system pods: VALID, with their counts beside it."""
    verdict = judged(killed_pod())
    assert verdict.outcome is Outcome.VALID
    counts = {"nodes_before": 1, "nodes_after": 1, "system_pods_after": 2, "faults": 1, "load_processes": ["load"]}
    assert counts.items() <= verdict.evidence.items()


@pytest.mark.parametrize(
    "same",
    [
        {"nodes": node(taints=["c=d:NoExecute", "a=b:NoSchedule"])},
        {"namespaces": ["kube-system", "default"]},
        {"system_pods": {"kube-system/coredns-7db6d8ff4d-zzzzz": True, "kube-system/etcd-control-plane": True}},
    ],
    ids=["order of taints", "order of namespaces", "replaced under a generated name"],
)
def test_what_does_not_matter_is_no_finding(same: dict[str, Json]) -> None:
    """Order, and the names that controllers generate, may change."""
    assert judged(after(**same)).outcome is Outcome.VALID


@pytest.mark.parametrize(
    ("changed", "finding"),
    [
        ({"nodes": {**BASELINE["nodes"], "extra": {}}}, "node extra was left behind"),
        ({"nodes": {"other": BASELINE["nodes"]["worker"]}}, "node worker is gone"),
        ({"nodes": node(ready=False)}, "node worker: ready was True, now it is False"),
        ({"nodes": node(unschedulable=True)}, "node worker: unschedulable was False, now it is True"),
        ({"nodes": node(taints=["a=b:NoSchedule"])}, "node worker: taints was"),
        ({"namespaces": ["default", "kube-system", "run-1"]}, "namespace run-1 was left behind"),
        ({"namespaces": ["default"]}, "namespace kube-system is gone"),
        ({"volumes": ["pv-1"]}, "volume pv-1 was left behind"),
        ({"objects": ["ClusterRole c", "StorageClass standard"]}, "the cluster's ClusterRole c was left behind"),
        ({"objects": []}, "the cluster's StorageClass standard is gone"),
        ({"escaped_packets": 9}, "2 packets left the machine"),
        (
            {"system_pods": {"kube-system/coredns-7db6d8ff4d-x2bcd": False, "kube-system/etcd-control-plane": True}},
            "system pod kube-system/coredns: 1 not ready now, 0 before",
        ),
        (
            {"system_pods": {"kube-system/coredns-7db6d8ff4d-x2bcd": True}},
            "system pod kube-system/etcd-control-plane: 0 ready now, 1 before",
        ),
    ],
)
def test_a_difference_is_invalid_and_names_the_object(changed: dict[str, Json], finding: str) -> None:
    """Each thing left behind, lost or changed is found on its own."""
    verdict = judged(after(**changed))
    assert verdict.outcome is Outcome.INVALID
    assert any(finding in text for text in verdict.findings), verdict.findings


def test_a_baseline_without_the_objects_outside_namespaces_says_nothing_of_them() -> None:
    """Older ones do not have them."""
    old = {name: value for name, value in BASELINE.items() if name != "objects"}
    for before, later in ((old, BASELINE), (BASELINE, old)):
        story = after()
        story.records = [r for r in story.records if r.get("name") not in ("baseline", "baseline_after")]
        verdict = judged(story.fact("baseline", before).fact("baseline_after", later))
        assert verdict.outcome is Outcome.VALID, verdict.summary


def test_pods_of_one_controller_are_counted_by_readiness() -> None:
    """Of two replicas under new names one is no longer ready: both counts are told."""
    pods = {f"kube-system/coredns-7db6d8ff4d-{end}": True for end in ("x2bcd", "zzzzz")}
    now = {f"kube-system/coredns-5c9d8b7f6-{end}": end == "bbbbb" for end in ("bbbbb", "ccccc")}
    story = killed_pod().fact("baseline", BASELINE | {"system_pods": pods})
    verdict = judged(story.fact("baseline_after", BASELINE | {"system_pods": now}))
    assert verdict.outcome is Outcome.INVALID
    assert verdict.findings == (
        "system pod kube-system/coredns: 1 not ready now, 0 before",
        "system pod kube-system/coredns: 1 ready now, 2 before",
    )


def test_a_fault_that_was_never_healed_is_invalid() -> None:
    """The harness owes every fault its healing."""
    verdict = judged(killed_pod().without(edge("healed")))
    assert verdict.outcome is Outcome.INVALID
    assert verdict.summary == "kill_pod on Pod web-1 was never healed; it was injected 10.0 s into the load"


def test_a_harness_that_was_cut_off_left_the_healing_open() -> None:
    """Without the harness's last records nobody knows whether the fault was healed."""
    story = killed_pod().without(edge("healed"))
    assert quiescence().check(story.history(unclosed=["harness"])).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("mutate", "reason"),
    [
        (lambda s: s.without(lambda r: r.get("name") == "baseline"), "the baseline before the run was not read"),
        (lambda s: s.without(lambda r: r.get("name") == "baseline_after"), "the baseline after the run was not read"),
        (lambda s: s.fact("baseline_after", BASELINE | {"nodes": {}}), "the baseline after the run was not read"),
        (lambda s: s.fact("baseline_after", uncounted()), "were not counted before and after"),
        (lambda s: s.fact("baseline", uncounted()), "were not counted before and after"),
        (lambda s: s.fact("baseline_after", BASELINE | {"escaped_packets": 6}), "went down from 7 to 6"),
        (lambda s: baseline_read(s, 42.1), "the baseline after the run was not read after the last fault's healing"),
        (lambda s: baseline_read(s, 41.9), "not read after the last fault's healing and the stack's removal"),
        (lambda s: s.without(lambda r: r.kind == "phase" and r["name"] == "remove"), "and the stack's removal"),
        (lambda s: s.without(lambda r: r.kind == "op"), "no load process was recorded"),
        (lambda s: s.gap("api:Pod", 33, None), "api:Pod saw nothing (watch) from 13.00 s after the injection"),
        (lambda s: s.without(edge("effect")), "not seen to take effect"),
    ],
)
def test_what_was_not_looked_at_is_unknown(mutate: Callable[[Story], Story], reason: str) -> None:
    """Each piece of evidence, taken away on its own, makes the verdict UNKNOWN and is named in it."""
    verdict = judged(mutate(killed_pod()))
    assert verdict.outcome is Outcome.UNKNOWN
    assert reason in verdict.summary


def test_a_load_process_that_did_not_close_is_unknown() -> None:
    """A process that never said that it stopped may still run."""
    verdict = quiescence().check(killed_pod().history(unclosed=["load"]))
    assert verdict.outcome is Outcome.UNKNOWN
    assert "load did not say that it stopped" in verdict.summary


def test_a_closed_gap_is_no_finding() -> None:
    """A watch that was blind for a while and saw again left nothing open."""
    assert judged(killed_pod().gap("api:Pod", 33, 34)).outcome is Outcome.VALID
