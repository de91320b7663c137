"""B10, B11: a replaced StatefulSet pod keeps its name, its DNS name and its volume; its UID and IP are new."""

import pytest

from kindstorm.checkers import at_most_one, availability, dns, identity, recovery
from kindstorm.faults import kill_pod
from kindstorm.profiles import HTTP_READS
from kindstorm.targets import ordinal


@pytest.mark.smoke
def test_stable_identity(experiment, stacks):
    """web-1 dies: same name, new UID, its DNS name follows, its volume and file are its own, the others untouched."""
    run = experiment(stack=stacks.web(), workload=HTTP_READS, faults=[kill_pod(ordinal("web", 1))])
    run.judge(
        identity("web-*", dns_s_max=30),
        at_most_one("web-*"),
        dns(),
        availability(error_ratio_max=0.1, gap_s_max=2.0),
        recovery(after_fault_s_max=60),
    )
