"""What the tests of dns tell besides: Services, labels, and answers for any name."""

from __future__ import annotations

from histories import NAMESPACE, Story, ns

from chaos.history import Json

LABELS = {"labels": {"app": "web"}}


def service(story: Story, name: str = "web", at_s: float = 0.5, **state: Json) -> Story:
    """Add a headless Service that selects the pods of web, unless ``state`` says otherwise."""
    whole = {
        "type": "ClusterIP",
        "cluster_ip": None,
        "selector": {"app": "web"},
        "publish_not_ready": False,
        "affinity": "None",
    }
    return story.seen(at_s, "Service", name, f"{name}-service", whole | state, "added")


def answer(
    story: Story, at_s: float, target: str, *ips: str, rcode: str = "NOERROR", error: str | None = None, **asked: Json
) -> Story:
    """Add a reading of any DNS name; with an error it is none."""
    value = {"answers": list(ips), "rcode": rcode} if error is None else None
    times = {"send_ns": ns(at_s) - 1_000_000, "receive_ns": ns(at_s)}
    return story.tell(at_s, "probe", "probe", probe="dns", target=target, value=value, error=error, **times, **asked)


def labelled(story: Story) -> Story:
    """The story with the labels that its Service selects on every pod."""
    for record in story.records:
        if record.kind == "object" and record["object"] == "Pod":
            record["state"].update(LABELS)
    return story


STABLE = f"web-1.web.{NAMESPACE}.svc"
HEADLESS = f"web.{NAMESPACE}.svc.cluster.local"
CLUSTER_IP = f"front.{NAMESPACE}.svc.cluster.local"
