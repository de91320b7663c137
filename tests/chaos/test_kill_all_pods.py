"""kill_all_pods: which pods it means, that each goes by its UID, and that all of them must be seen gone."""

from __future__ import annotations

import pytest
from cluster_fakes import NAMESPACE, FakeKube, Picture, pod, scene

from chaos.errors import FaultError, WaitTimeout
from chaos.faults import kill_all_pods

PROBE = pod("kindstorm-probe", labels={"kindstorm.dev/probe": "true"})
GOING = pod("web-9", deleting=True)
UNREADY = pod("web-2", ready=False)
STACK = (pod("web-0"), pod("web-1", node="w2"), UNREADY, GOING, pod("db-0"), PROBE)


def test_all_means_every_living_pod_with_that_beginning() -> None:
    """Ready or not; neither one that goes already, nor another's, nor the harness's probe; no prefix is all of them."""
    kube = FakeKube()
    killed = kill_all_pods("web").aim(scene(kube, Picture(*STACK)))
    assert killed.target == {
        "kind": "Pods",
        "name": "web*",
        "namespace": NAMESPACE,
        "pods": [
            {"name": "web-0", "uid": "web-0-a", "node": "worker"},
            {"name": "web-1", "uid": "web-1-a", "node": "w2"},
            {"name": "web-2", "uid": "web-2-a", "node": "worker"},
        ],
    }
    assert killed.inject() == {"grace": "the pods' own", "killed": 3}
    assert kube.calls == [("delete", "Pod", f"web-{n}", NAMESPACE, f"web-{n}-a") for n in range(3)]
    everything = kill_all_pods().aim(scene(kube, Picture(*STACK)))
    assert [p["name"] for p in everything.target["pods"]] == ["db-0", "web-0", "web-1", "web-2"]


def test_without_a_pod_there_is_no_target() -> None:
    """A misspelt prefix is a fault error."""
    with pytest.raises(FaultError, match="no pod whose name begins with 'wbe'; the fault has no target"):
        kill_all_pods("wbe").aim(scene(picture=Picture(*STACK)))


def test_a_pod_that_had_gone_before_is_named() -> None:
    """The others are killed all the same, and the fault has failed."""
    kube = FakeKube()
    kube.gone.add("web-0")
    killed = kill_all_pods("web").aim(scene(kube, Picture(pod("web-0"), pod("web-1"))))
    with pytest.raises(FaultError, match="not all pods were there to be killed: web-0 had gone before"):
        killed.inject()
    assert [call[2] for call in kube.calls] == ["web-0", "web-1"]


def test_the_effect_is_that_all_are_gone() -> None:
    """One old UID that is left is no effect, however many new pods there are; healing asks nothing."""
    kube, old, new = FakeKube(), pod("web-1"), [pod("web-0", "web-0-b"), pod("web-1", "web-1-b")]
    steps = [lambda p: setattr(p, "all", [old, *new]), lambda p: setattr(p, "all", new)]
    killed = kill_all_pods("web", hold_s=3).aim(scene(kube, Picture(pod("web-0"), old, steps=steps)))
    assert killed.effect() == {"uids_before": ["web-0-a", "web-1-a"], "gone": True}
    assert steps == []
    assert killed.heal() == killed.heal() == {}
    assert kube.calls == []
    stays = kill_all_pods("web").aim(scene(picture=Picture(old)))
    with pytest.raises(WaitTimeout, match=r"the 1 pods web\* of these UIDs are gone: not within 90 s"):
        stays.effect()
