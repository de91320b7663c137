"""S2, B1, B2, B4: a killed pod is replaced, and its Service goes on answering."""

import pytest

from kindstorm.checkers import availability, dns, load_balance, recovery
from kindstorm.faults import kill_pod
from kindstorm.profiles import HTTP_READS
from kindstorm.targets import one

# kube-proxy, as kind sets it up, rewrites a node's rules once a second at most. Until then every other request still
# goes to the dead pod: 5 % of the 12 s of load. The budget is twice that; a gap would need both pods to be gone.
BUDGET = {"error_ratio_max": 0.1, "gap_s_max": 2.0}


@pytest.mark.smoke
def test_self_healing(experiment, stacks):
    """An nginx pod dies under load: it is replaced and the Service stays within its error budget."""
    run = experiment(stack=stacks.nginx(), workload=HTTP_READS, faults=[kill_pod(one("nginx"))])
    run.judge(availability(**BUDGET), recovery(after_fault_s_max=60), load_balance(), dns())
