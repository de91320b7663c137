"""dns: names that follow their pods, names that name the dead, and names nobody can judge."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from histories import NAMESPACE, Story, edge, killed_pod, ns
from hypothesis import given, settings
from hypothesis import strategies as st
from named_stories import CLUSTER_IP, HEADLESS, STABLE, answer, labelled, service

from chaos.checkers import Outcome, Verdict, dns
from chaos.checkers.answers import Asked, Name, _meaning
from chaos.checkers.corefile import cached_s
from chaos.checkers.dns import _Case
from chaos.checkers.ready_sets import Life, Step
from chaos.history import History, Json, Record

COREFILE = """cluster.local:53 in-addr.arpa:53 {
    errors
    kubernetes cluster.local in-addr.arpa {
       pods insecure
       ttl 30
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
}
.:53 {
    errors
}
"""


def judged(story: Story, settle_s_max: float | None = None) -> Verdict:
    """The verdict on a story."""
    return dns(settle_s_max).check(story.history())


def whole(ready_s: float = 22, dns_s: float = 22.5) -> Story:
    """web-1 of three is killed; its own name, the headless Service's and another Service's are asked all along."""
    story = labelled(killed_pod(ready_s=ready_s, dns_s=dns_s)).fact("cluster", {"corefile": COREFILE})
    service(service(story), "front", cluster_ip="10.96.0.9")
    for half in range(12, 82):
        at_s = half / 2 + 0.02
        ips = ["ip-web-0-a", "ip-web-2-a"]
        if not 20.3 < at_s < dns_s:
            ips.append("ip-web-1-a" if at_s < 20.3 else "ip-web-1-b")
        answer(story, at_s, HEADLESS, *ips)
        answer(story, at_s, CLUSTER_IP, "10.96.0.9")
    return story.revisions()


def readings(target: str, begin_s: float, end_s: float) -> Callable[[Record], bool]:
    """Picks the readings of a name in a time."""
    return lambda r: r.kind == "probe" and r.get("target") == target and ns(begin_s) <= r.time_ns < ns(end_s)


def changed(story: Story, target: str, begin_s: float, end_s: float, **fields: Json) -> Story:
    """The story with other fields in some readings."""
    for record in filter(readings(target, begin_s, end_s), story.records):
        record.data.update(fields)
    return story


def given_(*ips: str, rcode: str = "NOERROR") -> dict[str, Json]:
    """The value of an answer."""
    return {"answers": list(ips), "rcode": rcode}


def test_names_that_follow_their_pods_are_valid() -> None:
    """VALID, with how many answers were right and how many changes were followed, and the bound's origin."""
    verdict = judged(whole())
    assert verdict.outcome is Outcome.VALID, verdict.summary
    assert verdict.summary == (
        "5 names gave the right addresses in 350 answers, and followed 4 changes of their pods within 5 s"
    )
    assert (verdict.evidence["settle_s_max"], verdict.evidence["cached_s"]) == (5.0, 0)
    assert verdict.evidence["not_judged"] == {}
    kinds = {row["kind"] for row in verdict.evidence["names"].values()}
    assert kinds == {"stable name", "headless Service", "Service"}


def test_a_dead_pods_address_is_invalid_and_named() -> None:
    """The name, the address, whose it was, how long it had been gone, and when."""
    story = changed(whole(), STABLE, 22, 30, value=given_("ip-web-1-a"))
    verdict = judged(story)
    assert verdict.outcome is Outcome.INVALID
    gave, lacked = verdict.findings
    assert gave == (
        "web-1.web.run-1.svc gave ip-web-1-a, the address of web-1 (web-1-a), which was gone 5.3 s before, in 9 "
        "answers, 5.51 s after the injection of kill_pod on Pod web-1 to 9.51 s after the injection of kill_pod on "
        "Pod web-1 (bound 5 s)"
    )
    assert lacked.startswith(
        "web-1.web.run-1.svc gave ip-web-1-a without ip-web-1-b, the address of web-1 (web-1-b), which was ready, in 6 "
    )


def test_a_dead_pods_address_is_allowed_within_the_bound() -> None:
    """What lies within the bound is none, what lies beyond another one is."""
    story = changed(whole(), STABLE, 22, 24.9, value=given_("ip-web-1-a"))
    assert judged(story).outcome is Outcome.VALID
    assert judged(story, settle_s_max=4).outcome is Outcome.INVALID


@pytest.mark.parametrize("value", [given_(rcode="NXDOMAIN"), given_(), given_("ip-web-0-a")])
def test_a_ready_pod_that_its_name_does_not_mean_is_invalid(value: Json) -> None:
    """No such name, no address, and another pod's: each is a negative answer to who asks for web-1."""
    verdict = judged(changed(whole(), STABLE, 30, 31, value=value))
    assert verdict.outcome is Outcome.INVALID
    assert "without ip-web-1-b" in verdict.summary


def test_a_pod_that_a_headless_service_leaves_out_is_invalid() -> None:
    """One of three ready pods lacks in its answer set."""
    verdict = judged(changed(whole(), HEADLESS, 30, 30.5, value=given_("ip-web-0-a", "ip-web-1-b")))
    assert verdict.outcome is Outcome.INVALID
    assert verdict.findings == (
        "web.run-1.svc.cluster.local gave ip-web-0-a, ip-web-1-b without ip-web-2-a, the address of web-2 (web-2-a), "
        "which was ready, in 1 answers, 10.02 s after the injection of kill_pod on Pod web-1 (bound 5 s)",
    )


@pytest.mark.parametrize("target", [STABLE, HEADLESS, CLUSTER_IP])
def test_an_address_that_nobody_ever_had_is_invalid(target: str) -> None:
    """Beside all the right ones, of any kind of name."""
    story = whole()
    (before,) = [r for r in story.records if readings(target, 12, 12.3)(r)]
    value = given_(*before["value"]["answers"], "10.9.9.9")
    verdict = judged(changed(story, target, 12, 12.3, value=value))
    assert verdict.outcome is Outcome.INVALID
    assert "gave 10.9.9.9, which no pod of the stack ever had" in verdict.summary


def test_a_service_without_its_own_address_is_invalid() -> None:
    """A Service that is not headless means its address, whoever is ready."""
    verdict = judged(changed(whole(), CLUSTER_IP, 30, 31, value=given_(rcode="NXDOMAIN")))
    assert verdict.outcome is Outcome.INVALID
    assert "gave NXDOMAIN without 10.96.0.9, its own address" in verdict.summary


def test_a_selector_that_takes_nobody_breaks_the_stable_names() -> None:
    """The Service's own name means nobody, rightly; that of a pod is a promise of its StatefulSet."""
    story = whole()
    for record in story.records:
        if record.kind == "object" and record["object"] == "Service" and record["name"] == "web":
            record["state"]["selector"] = {"app": "nobody"}
    changed(story, HEADLESS, 0, 45, value=given_(rcode="NXDOMAIN"))
    for number in range(3):
        changed(story, f"web-{number}.web.{NAMESPACE}.svc", 0, 45, value=given_(rcode="NXDOMAIN"))
    verdict = judged(story)
    assert verdict.outcome is Outcome.INVALID
    assert not any(text.startswith("web.run-1") for text in verdict.findings)


def flapping(publishes: bool, *, ip: str = "ip-web-2-a") -> Story:
    """web-2 is not ready from 12 s to 19 s, and the headless Service goes on naming this address all the time."""
    story = whole()
    for record in story.records:
        if record.kind == "object" and record["object"] == "Service" and record["name"] == "web":
            record["state"]["publish_not_ready"] = publishes
    labelled(story.pod(12, "web-2", "web-2-a", ready=False).pod(19, "web-2", "web-2-a"))
    for record in filter(readings(HEADLESS, 12, 19), story.records):
        record.data["value"] = given_("ip-web-0-a", "ip-web-1-a", ip)
    return story.revisions()


def test_addresses_that_are_not_ready_are_right_only_where_they_are_published() -> None:
    """A Service may name pods that are not ready if it says so; it may never name others."""
    assert judged(flapping(publishes=True)).outcome is Outcome.VALID
    verdict = judged(flapping(publishes=False))
    assert verdict.outcome is Outcome.INVALID
    assert "ip-web-2-a, the address of web-2 (web-2-a), which was not ready" in verdict.summary
    assert judged(flapping(publishes=True, ip="ip-dead")).outcome is Outcome.INVALID


def test_a_published_dead_address_is_invalid() -> None:
    """Published or not: a pod that is gone is nobody's address after the bound."""
    story = flapping(publishes=True)
    for record in filter(readings(HEADLESS, 22.5, 45), story.records):
        record["value"]["answers"].append("ip-web-1-a")
    verdict = judged(story)
    assert verdict.outcome is Outcome.INVALID
    assert "gave ip-web-1-a, the address of web-1 (web-1-a), which was gone" in verdict.summary


def test_silence_is_told_apart_from_not_asking() -> None:
    """Asked for six seconds in vain is a finding; that nobody could ask is the probe's own failure, and UNKNOWN."""
    silent = {"value": None, "error": "the cluster's DNS did not answer", "asked": True}
    verdict = judged(changed(whole(), STABLE, 26, 32.5, **silent))
    assert verdict.outcome is Outcome.INVALID
    assert verdict.summary == (
        "web-1.web.run-1.svc had no answer for 6.0 s (13 readings), from 6.01 s after the injection of kill_pod on "
        "Pod web-1"
    )
    for unasked in ({"asked": False}, {"asked": None, "error": "the probe pod does not answer: timed out"}):
        verdict = judged(changed(whole(), STABLE, 26, 32.5, **(silent | unasked)))
        assert verdict.outcome is Outcome.UNKNOWN
        assert "could not be asked, which is the probe's own failure" in verdict.summary
    assert judged(changed(whole(), STABLE, 26, 30.5, **silent)).outcome is Outcome.VALID


def test_a_silence_that_was_asked_only_in_part_is_unknown() -> None:
    """In vain and not at all by turns: nobody knows whether the name had an answer."""
    story = changed(whole(), STABLE, 26, 36, value=None, error="no answer")
    for number, record in enumerate(filter(readings(STABLE, 26, 36), story.records)):
        record.data["asked"] = bool(number % 2)
    verdict = judged(story)
    assert verdict.outcome is Outcome.UNKNOWN
    assert f"{STABLE} had no answer or could not be asked for 9.5 s (20 readings)" in verdict.summary


def test_a_server_that_failed_gave_no_answer() -> None:
    """SERVFAIL says nothing about who has the name: it is silence, and too long a one is a finding."""
    value = given_(rcode="SERVFAIL")
    assert judged(changed(whole(), STABLE, 30, 31, value=value)).outcome is Outcome.VALID
    assert judged(changed(whole(), STABLE, 26, 34, value=value)).outcome is Outcome.INVALID


@pytest.mark.parametrize(
    ("story", "reason"),
    [
        (lambda: whole().without(lambda r: r.kind == "probe"), "no name was asked whose answers are known"),
        (lambda: whole().without(edge("effect")), "was not seen to take effect"),
        (lambda: whole().without(lambda r: r.kind == "fault"), "no fault was injected"),
        (lambda: whole().without(lambda r: r.kind == "phase"), "lacks these of the load's phases"),
        (lambda: whole().gap("api:Pod", 21, 21.5), "api:Pod may have missed something"),
        (lambda: whole().gap("api:Service", 21, 21.5), "api:Service may have missed something"),
        (lambda: whole().without(readings(STABLE, 0, 20.3)), f"{STABLE} was not answered before the fault"),
        (lambda: whole().without(readings(STABLE, 20, 45)), f"{STABLE} was not answered after the fault"),
        (lambda: whole().without(readings(STABLE, 30, 36)), f"{STABLE} was not asked for 6.5 s"),
        (lambda: answered_late(), f"no answer shows that {STABLE} came to mean ip-web-1-b"),
        (lambda: nobody_meant(), "web-9.web.run-1.svc never had a pod or an address to mean"),
    ],
)
def test_too_little_shown_is_unknown(story: Callable[[], Story], reason: str) -> None:
    """Nothing asked, no fault, a gap in what was seen, none before or after: each is UNKNOWN and named."""
    verdict = judged(story())
    assert verdict.outcome is Outcome.UNKNOWN, verdict.summary
    assert reason in verdict.summary


def answered_late() -> Story:
    """From the fault on the server fails, or nobody can ask it, in turns, neither for as long as the bound."""
    story = changed(whole(), STABLE, 21, 45, value=given_(rcode="SERVFAIL"))
    for number, record in enumerate(filter(readings(STABLE, 21, 45), story.records)):
        record.data["asked"] = number % 8 < 4
    return story


def nobody_meant() -> Story:
    """A stable name whose pod never was there, and which nobody has."""
    story = whole()
    for half in range(12, 82):
        answer(story, half / 2, f"web-9.web.{NAMESPACE}.svc", rcode="NXDOMAIN")
    return story


@pytest.mark.parametrize(("settle_s_max", "is_told"), [(19.0, True), (21.0, False)])
def test_a_change_must_be_followed_where_there_was_time_for_it(settle_s_max: float, is_told: bool) -> None:
    """web-1 was back for twenty seconds, and no answer shows it: a doubt, unless the bound is longer than that."""
    told = f"no answer shows that {STABLE} came to mean ip-web-1-b"
    assert (told in judged(answered_late(), settle_s_max).summary) is is_told


def test_what_cannot_be_judged_is_named() -> None:
    """A Service that stands for another place, that has somebody else's endpoints, or that was never seen."""
    story = whole()
    service(story, "away", type="ExternalName", cluster_ip=None)
    service(story, "theirs", selector=None)
    service(service(story, "moved", cluster_ip="1.1.1.1"), "moved", 12, cluster_ip="1.1.1.2")
    for name in ("away", "theirs", "moved", "unseen"):
        answer(story, 30, f"{name}.{NAMESPACE}.svc.cluster.local", "9.9.9.9")
    verdict = judged(story.revisions())
    assert verdict.outcome is Outcome.VALID
    reasons = {target.partition(".")[0]: why for target, why in verdict.evidence["not_judged"].items()}
    assert reasons == {
        "away": "the Service stands for a name of somewhere else",
        "theirs": "the Service selects no pods, its endpoints are somebody else's",
        "moved": "the Service was changed meanwhile",
        "unseen": "no Service of this name was seen",
    }


@pytest.mark.parametrize("target", ["web.other.svc.cluster.local", "web-1.other.svc", "web-1.web.other.svc"])
def test_a_name_of_another_namespace_is_none_of_the_stacks(target: str) -> None:
    """Its Services and pods may be called as the stack's are."""
    story = service(whole(), "web-1")
    for half in range(12, 82):
        answer(story, half / 2, target, "9.9.9.9")
    verdict = judged(story.revisions())
    assert verdict.outcome is Outcome.VALID, verdict.summary
    assert verdict.evidence["not_judged"] == {target: "it is a name of another namespace than the stack's"}


def test_a_watch_that_told_late_leaves_no_doubt() -> None:
    """Changes are placed by the store's revision, not by when a watch told of them."""
    story = whole().tell(24, "api:Pod", "resumed", what="watch Pod", from_ns=ns(23), to_ns=ns(24))
    assert judged(story).outcome is Outcome.VALID


def test_findings_in_a_gap_are_not_certain() -> None:
    """What the watch missed may explain it: UNKNOWN, and the finding is told."""
    story = changed(whole(), STABLE, 22, 30, value=given_("ip-web-1-a")).gap("api:Pod", 20, 21)
    verdict = judged(story)
    assert verdict.outcome is Outcome.UNKNOWN
    assert verdict.findings


def unread(story: Story) -> Story:
    """The story as an older recorder would have told it: without versions and reads of the revision."""
    story._reads_s = None
    return story


def test_a_change_is_known_within_its_interval_only() -> None:
    """Where nobody read the revision, nothing is concluded from the time at which the watch told."""
    # web-1 became ready somewhere between the records at 21.5 s and 22 s, so its address may be given from then on
    assert judged(unread(whole())).outcome is Outcome.VALID
    early = changed(whole(), STABLE, 21.6, 22, value=given_("ip-web-1-b"))
    assert judged(early, settle_s_max=0.1).outcome is Outcome.INVALID
    blurred = unread(early)
    assert not [text for text in judged(blurred, settle_s_max=0.1).findings if "gave ip-web-1-b," in text]


def test_the_stacks_removal_is_no_finding() -> None:
    """Names vanish with the stack."""
    story = whole()
    for half in range(85, 90):
        answer(story, half / 2, STABLE, rcode="NXDOMAIN")
        answer(story, half / 2, HEADLESS, "ip-web-0-a")
    assert judged(story).outcome is Outcome.VALID


@pytest.mark.parametrize("settle_s_max", [0, -1])
def test_a_bound_that_makes_no_sense_is_refused(settle_s_max: float) -> None:
    """No answer comes at once."""
    with pytest.raises(ValueError, match="settle_s_max must be above 0"):
        dns(settle_s_max)


def corefile(cache: str, kubernetes: str = "cluster.local {\n ttl 60\n }") -> str:
    """A Corefile with one server."""
    return f".:53 {{\n errors\n kubernetes {kubernetes}\n {cache}\n}}\n"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (COREFILE, 0),
        ("", 0),
        (corefile(""), 0),
        (corefile("cache 30"), 30),
        (corefile("cache"), 60),
        (corefile("cache 30", "cluster.local"), 5),
        (corefile("cache 10 example.org"), 0),
        (corefile("cache 10 cluster.local"), 10),
        (corefile("cache {\n success 9984 40\n denial 9984 7\n }"), 40),
        (corefile("cache 20 {\n disable success\n denial 99 7\n }"), 7),
        (corefile("cache 20 {\n disable success\n disable denial x.y\n }"), 20),
        (".:53 {\n  forward . 1.1.1.1\n  cache 30\n}\n" + COREFILE, 0),
    ],
)
def test_how_long_the_live_dns_may_keep_an_answer(text: str, seconds: int) -> None:
    """The shorter of the record's TTL and what the cache allows for its kind, where it caches the zone at all."""
    assert cached_s(text) == seconds


def test_the_default_bound_follows_the_live_cache() -> None:
    """Where the cluster's DNS keeps answers for 30 s, the old address may be given so long."""
    story = changed(whole(), STABLE, 22, 45, value=given_("ip-web-1-a"))
    caching = ".:53 {\n kubernetes cluster.local {\n ttl 30\n }\n cache 30\n}\n"
    assert judged(story).outcome is Outcome.INVALID
    assert judged(story.fact("cluster", {"corefile": caching})).outcome is not Outcome.INVALID


# The slow oracle: at every moment, every state that each pod may have been in

TIMES = st.integers(0, 30)
IPS = ("a", "b")


@st.composite
def pod_lives(draw: st.DrawFn) -> Life:
    """A pod that changes at known intervals between its states: with which address, ready, on its way out, or gone."""
    number = draw(st.integers(0, 4))
    bounds = sorted(draw(st.lists(TIMES, min_size=2 * number, max_size=2 * number)))
    steps = []
    for lower, upper in zip(bounds[::2], bounds[1::2], strict=True):
        flags = {
            "ready": draw(st.booleans()),
            "deleting": draw(st.booleans()),
            "ip": draw(st.sampled_from((*IPS, None))),
        }
        steps.append(Step(lower, upper, None if draw(st.integers(0, 4)) == 0 else flags | {"phase": "Running"}))
    return Life(draw(st.sampled_from("xy")), "web-0", steps)


def could_be(pod: Life, at: float) -> list[dict[str, Any] | None]:
    """Every state the pod may have been in at a moment; None: not there."""
    states = [Step(-99, -99, None), *pod.steps, Step(10**9, 10**9, None)]
    return [step.state for step, then in itertools.pairwise(states) if step.lower_ns <= at <= then.upper_ns]


def surely(pod: Life, at: float, ip: str) -> bool:
    """Whether this was its address at a moment: by the one state it was in then, or by all that it may have been in."""
    states = [Step(-99, -99, None), *pod.steps, Step(10**9, 10**9, None)]
    known = [step.state for step, then in itertools.pairwise(states) if step.upper_ns <= at <= then.lower_ns]
    one_of = {meant(state, published_too=False) for state in could_be(pod, at)}
    return ip in {meant(state, published_too=False) for state in known} or one_of == {ip}


def meant(state: dict[str, Any] | None, *, published_too: bool) -> str | None:
    """The address that a pod in this state is named by."""
    if state is None or not state["ip"]:
        return None
    return state["ip"] if published_too or (state["ready"] and not state["deleting"]) else None


def slow(pods: list[Life], reading: Asked, settle: int, *, publishes: bool) -> set[tuple[str, str]]:
    """What is wrong with one answer, by looking at every half moment of the time it may speak for."""
    moments = [half / 2 for half in range(2 * (reading.send_ns - settle), 2 * reading.receive_ns + 1)]
    addresses = reading.addresses or frozenset()
    wrong = set()
    for ip in addresses:
        could = (could_be(pod, at) for at in moments for pod in pods)
        if not any(meant(state, published_too=publishes) == ip for states in could for state in states):
            wrong.add(("gave", ip))
    for ip in set(IPS) - addresses:
        if any(all(surely(pod, at, ip) for at in moments) for pod in pods):
            wrong.add(("lacked", ip))
    return wrong


@settings(deadline=None, max_examples=300)
@given(
    st.lists(pod_lives(), max_size=3),
    st.lists(st.tuples(TIMES, st.integers(0, 4), st.frozensets(st.sampled_from((*IPS, "c")))), max_size=5),
    st.integers(1, 6),
    st.booleans(),
)
def test_every_answer_is_judged_as_a_slow_oracle_does(
    pods: list[Life], told: list[tuple[int, int, frozenset[str]]], settle: int, publishes: bool
) -> None:
    """For any changes that are known within intervals, and any answers: the same addresses are wrong."""
    asked = sorted(
        (Asked(at, at + took, ips, "NOERROR", asked=True) for at, took, ips in told), key=lambda r: r.send_ns
    )
    name = Name("n", "headless Service", asked, *_meaning(pods, None, published=publishes))
    case = _Case(History([]), name, settle, pods)
    case.judge()
    expected: dict[str, int] = {}
    for reading in asked:
        for verb, ip in slow(pods, reading, settle, publishes=publishes):
            expected[f"{verb} {ip}"] = expected.get(f"{verb} {ip}", 0) + 1
    assert case.row["wrong"] == expected


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([STABLE, HEADLESS]), st.integers(0, 69), st.sampled_from(["dead", "stranger", "empty", "less"]))
def test_a_single_wrong_answer_is_caught_wherever_it_lies(target: str, place: int, how: str) -> None:
    """A sound history with one answer changed is never VALID beyond the bounds of the changes."""
    story = whole()
    records = [r for r in story.records if r.kind == "probe" and r["target"] == target and r["probe"] == "dns"]
    record = records[place]
    at_s = record.time_ns / 1e9
    answers = list(record["value"]["answers"])
    change = {"dead": [*answers, "ip-web-1-a"], "stranger": [*answers, "9.9.9.9"], "empty": [], "less": answers[1:]}
    quiet = 8.7 < at_s < 20 or at_s > 27.2
    if how == "dead" and at_s < 25.4:
        return
    if how in ("empty", "less") and not quiet:
        return
    record.data["value"] = given_(*change[how])
    assert judged(story).outcome is Outcome.INVALID
