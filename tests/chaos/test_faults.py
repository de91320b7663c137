"""Each fault does what its name says, believes only what it sees, and heals as often as it is told to."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster_fakes import NAMESPACE, FakeKube, Picture, pod, scene, workload

from chaos import journal
from chaos.errors import ClusterError, FaultError, WaitTimeout
from chaos.faults import kill_pod, rolling_update, scale
from chaos.targets import pod as named
from images import cache


@pytest.fixture(autouse=True)
def cache_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own, for the journal."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))


def replace_pod(picture: Picture) -> None:
    """The next step of a picture: web-1 has a successor."""
    picture.all = [pod("web-0"), pod("web-1", "web-1-b")]


def test_kill_pod_deletes_that_very_pod() -> None:
    """By name and UID, gracefully; the target is told with all that identifies it."""
    kube = FakeKube()
    killed = kill_pod(named("web-1")).aim(scene(kube, Picture(pod("web-0"), pod("web-1"))))
    assert killed.inject() == {"grace": "the pod's own"}
    assert kube.calls == [("delete", "Pod", "web-1", NAMESPACE, "web-1-a")]
    place = {"namespace": NAMESPACE, "node": "worker", "ip": "10.0.0.1"}
    assert killed.target == {"kind": "Pod", "name": "web-1", "uid": "web-1-a", **place}


def test_kill_pod_of_a_pod_that_has_just_gone() -> None:
    """Nothing was deleted, so nothing was injected."""
    kube = FakeKube()
    kube.gone.add("web-1")
    with pytest.raises(FaultError, match="the pod web-1 was gone before it could be killed"):
        kill_pod(named("web-1")).aim(scene(kube, Picture(pod("web-1")))).inject()


def test_kill_pod_sees_its_effect() -> None:
    """The old UID is gone from the picture; a pod that is still deleting is not gone."""
    goes = [lambda p: setattr(p, "all", [pod("web-1", deleting=True)]), replace_pod]
    killed = kill_pod(named("web-1")).aim(scene(picture=Picture(pod("web-1"), steps=goes)))
    assert killed.effect() == {"uid_before": "web-1-a", "uid_after": "web-1-b", "gone": True}
    assert goes == []


def test_kill_pod_sees_that_nothing_came_after() -> None:
    """A pod may be gone without a successor yet."""
    killed = kill_pod(named("web-1")).aim(scene(picture=Picture(pod("web-1"), steps=[lambda p: p.all.clear()])))
    assert killed.effect()["uid_after"] is None


def test_kill_pod_without_an_effect() -> None:
    """A pod that stays is a wait that timed out, with its UID."""
    killed = kill_pod(named("web-1")).aim(scene(picture=Picture(pod("web-1"))))
    with pytest.raises(WaitTimeout, match="the pod web-1 with UID web-1-a is gone: not within 90 s"):
        killed.effect()


def test_kill_pod_needs_no_healing() -> None:
    """Healing, however often, asks nothing of the API."""
    kube = FakeKube()
    killed = kill_pod(named("web-1"), hold_s=3)
    assert (killed.name, killed.hold_s) == ("kill_pod", 3)
    disturbance = killed.aim(scene(kube, Picture(pod("web-1"))))
    assert disturbance.heal() == disturbance.heal() == {}
    assert kube.calls == []


def test_kill_pod_by_force() -> None:
    """Only where it was asked for; what the history keeps of the grace says so."""
    kube = FakeKube()
    killed = kill_pod(named("web-1"), force=True).aim(scene(kube, Picture(pod("web-1"))))
    assert killed.inject() == {"grace": "none: it is gone from the API at once"}
    assert kube.calls == [("force", "Pod", "web-1", NAMESPACE, "web-1-a")]


NGINX = [pod("nginx-7d4b-a", owner="ReplicaSet/nginx-7d4b"), pod("nginx-7d4b-b", owner="ReplicaSet/nginx-7d4b")]


def test_rolling_update_changes_a_note_of_the_template() -> None:
    """Each one writes another revision; healing, however often, asks nothing of the API."""
    kube = FakeKube()
    stage = scene(kube, Picture(*NGINX, pod("other-1", owner="ReplicaSet/other-1")))
    for _ in range(2):
        updated = rolling_update("nginx", hold_s=1).aim(stage)
        assert updated.target == {"kind": "Deployment", "name": "nginx", "namespace": NAMESPACE}
        assert updated.inject()["pods_before"] == 2
        assert updated.heal() == updated.heal() == {}
    (one, *where), (other, *_) = [(call[-1]["spec"]["template"]["metadata"], *call[:-1]) for call in kube.calls]
    assert where == ["patch", "Deployment", "nginx", NAMESPACE]
    assert one["annotations"].keys() == other["annotations"].keys()
    assert one != other


def test_rolling_update_sees_a_pod_of_the_new_revision() -> None:
    """Another workload's new pod is none of it."""
    other = pod("other-1", "new", owner="ReplicaSet/other-1")
    new = pod("nginx-9f8e-c", owner="ReplicaSet/nginx-9f8e", ready=False)
    steps = [lambda p: p.all.append(other), lambda p: p.all.append(new)]
    updated = rolling_update("nginx").aim(scene(picture=Picture(*NGINX, steps=steps)))
    assert updated.effect() == {"first_new_pod": "nginx-9f8e-c"}
    assert steps == []


def test_rolling_update_without_an_effect() -> None:
    """A controller that does nothing is a wait that timed out."""
    with pytest.raises(WaitTimeout, match="a pod of the new revision of Deployment nginx is there: not within 120 s"):
        rolling_update("nginx").aim(scene(picture=Picture(*NGINX))).effect()


def test_rolling_update_of_what_is_not_there() -> None:
    """A workload without a pod is no target."""
    with pytest.raises(FaultError, match="there is no pod of StatefulSet web; the fault has no target"):
        rolling_update("StatefulSet/web").aim(scene(picture=Picture(*NGINX)))


def scaled_kube(replicas: int = 2) -> FakeKube:
    """An API with the Deployment nginx."""
    kube = FakeKube()
    kube.wanted["Deployment", "nginx"] = replicas
    return kube


def test_scale_sets_and_gives_back() -> None:
    """The number asked for, then its own again; healing twice is harmless, and the journal is empty at the end."""
    kube = scaled_kube()
    scaled = scale("nginx", 5).aim(scene(kube))
    assert scaled.target == {"kind": "Deployment", "name": "nginx", "namespace": NAMESPACE}
    assert scaled.inject() == {"replicas_before": 2, "replicas_after": 5}
    assert kube.wanted["Deployment", "nginx"] == 5
    assert scaled.heal() == scaled.heal() == {"replicas": 2}
    assert kube.wanted["Deployment", "nginx"] == 2
    assert journal.pending() == []


def test_scale_goes_through_each_number() -> None:
    """The next number is asked for once the one before is reached; the last one is the effect's to wait for."""
    kube = scaled_kube()
    picture = Picture(workload("Deployment", "nginx", 5, ready_replicas=5))
    scaled = scale("nginx", 5, 1).aim(scene(kube, picture))
    detail = {"replicas_before": 2, "replicas_after": 1, "replicas_through": [5]}
    assert scaled.inject() == detail
    assert [call[-1] for call in kube.calls if call[0] == "scale"] == [5, 1]
    kube = scaled_kube()
    stuck = Picture(workload("Deployment", "nginx", 5, ready_replicas=4))
    with pytest.raises(WaitTimeout, match="Deployment nginx has 5 ready replicas: not within 120 s"):
        scale("nginx", 5, 1).aim(scene(kube, stuck)).inject()
    assert kube.wanted["Deployment", "nginx"] == 5


def test_scaling_there_and_back_is_a_fault() -> None:
    """Ending at its own number changes nothing, unless it goes somewhere else before."""
    with pytest.raises(FaultError, match="has 2 replicas already"):
        scale("nginx", 2).aim(scene(scaled_kube()))
    scale("nginx", 3, 2).aim(scene(scaled_kube()))


@pytest.mark.parametrize("replicas", [(), (2, -1), (2.5,)])
def test_scale_needs_numbers(replicas: tuple[int, ...]) -> None:
    """No number, a negative one or half a pod is the author's mistake."""
    with pytest.raises(ValueError, match="whole numbers"):
        scale("nginx", *replicas)


def test_scale_heals_once_the_old_number_is_taken_up() -> None:
    """The order alone is not it: the workload must be seen to want the old number, and its controller to know."""
    kube = scaled_kube()
    views = [
        workload("Deployment", "nginx", 2, generation=3, observed_generation=2),
        workload("Deployment", "nginx", 2, generation=3, observed_generation=3),
    ]
    steps = [lambda p, view=view: setattr(p, "all", [view]) for view in views]
    picture = Picture(workload("Deployment", "nginx", 5), steps=steps)
    scaled = scale("nginx", 5).aim(scene(kube, picture))
    scaled.inject()
    assert scaled.heal() == {"replicas": 2}
    assert steps == []
    assert journal.pending() == []


def test_scale_that_is_not_heard_is_not_healed() -> None:
    """A workload that goes on wanting the fault's number is an error, and stays on the journal."""
    kube = scaled_kube()
    scaled = scale("nginx", 5).aim(scene(kube, Picture(workload("Deployment", "nginx", 5))))
    scaled.inject()
    with pytest.raises(WaitTimeout, match="Deployment nginx wants 2 replicas again: not within 30 s"):
        scaled.heal()
    assert len(journal.pending()) == 1


def test_scale_heals_what_is_gone() -> None:
    """A workload that was deleted meanwhile is not made anew."""
    kube = scaled_kube()
    scaled = scale("nginx", 5).aim(scene(kube))
    scaled.inject()
    kube.wanted.clear()
    kube.calls.clear()
    scaled.heal()
    assert kube.calls == []
    assert journal.pending() == []


def test_scale_that_cannot_heal_stays_on_the_journal() -> None:
    """The entry is what a later run undoes it by."""
    kube = scaled_kube()
    scaled = scale("nginx", 5).aim(scene(kube))
    scaled.inject()

    def away(_: str) -> None:
        raise ClusterError("the API server does not answer")

    kube.before_change = away
    with pytest.raises(ClusterError):
        scaled.heal()
    assert [e.arguments["replicas"] for e in journal.pending("kindstorm-test")] == [2]


@pytest.mark.parametrize("replicas", [5, 0])
def test_scale_sees_its_effect(replicas: int) -> None:
    """Wanted and ready are both the number asked for; none counts too."""
    halfway = workload("Deployment", "nginx", replicas, ready_replicas=1)
    steps = [
        lambda p: setattr(p, "all", [halfway]),
        lambda p: setattr(p, "all", [workload("Deployment", "nginx", replicas)]),
    ]
    picture = Picture(workload("Deployment", "nginx", 2), steps=steps)
    assert scale("nginx", replicas).aim(scene(scaled_kube(), picture)).effect() == {"ready_replicas": replicas}
    assert steps == []


@pytest.mark.parametrize("seen", [(), (workload("Deployment", "nginx", 5, ready_replicas=4),)])
def test_scale_without_an_effect(seen: tuple) -> None:
    """One replica short, or a workload that was never seen, is a wait that timed out."""
    with pytest.raises(WaitTimeout, match="Deployment nginx has 5 ready replicas: not within 120 s"):
        scale("nginx", 5).aim(scene(scaled_kube(), Picture(*seen))).effect()


def test_scale_to_the_present_number_is_no_fault() -> None:
    """It is refused before anything is done or planned."""
    kube = scaled_kube(5)
    with pytest.raises(FaultError, match="Deployment nginx has 5 replicas already"):
        scale("nginx", 5).aim(scene(kube))
    assert kube.calls == []
    assert journal.pending() == []


def test_scale_of_what_is_not_there() -> None:
    """It has no target."""
    with pytest.raises(FaultError, match="there is no StatefulSet web; the fault has no target"):
        scale("StatefulSet/web", 5).aim(scene(scaled_kube()))


def test_scale_reads_kind_and_name() -> None:
    """A bare name is a Deployment's."""
    assert (scale("nginx", 5).kind, scale("nginx", 5).workload) == ("Deployment", "nginx")
    stateful = scale("StatefulSet/web", 5, hold_s=2)
    assert (stateful.kind, stateful.workload, stateful.hold_s) == ("StatefulSet", "web", 2)
