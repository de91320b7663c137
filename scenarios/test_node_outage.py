"""B4 for a node: with a replica elsewhere, a hung node costs clients what Kubernetes needs to notice, and no more."""

import pytest

from kindstorm.checkers import availability, recovery
from kindstorm.faults import pause_node
from kindstorm.profiles import HTTP_READS
from kindstorm.targets import node_of, one

# With the fast clocks a silent node is called not ready after 12 s, looked at every 2 s; another 2 s are for endpoints
# and kube-proxy. So long every other request goes to the pod that hangs: of a load of at least 5 + 12 + HOLD_S + 5 s,
# these are 0.5 * 16 / 52 = 15 %. The budget is that and a third: which pod a request goes to is a matter of chance.
HOLD_S = 30
BUDGET = {"error_ratio_max": 0.2, "gap_s_max": 2.0}


@pytest.mark.full
def test_node_outage(experiment, stacks):
    """A worker hangs under load: its nginx pod is replaced elsewhere, and clients stay within the clocks' budget."""
    run = experiment(
        stack=stacks.nginx(), workload=HTTP_READS, faults=[pause_node(node_of(one("nginx")), hold_s=HOLD_S)]
    )
    run.judge(availability(**BUDGET), recovery(after_fault_s_max=60, after_heal_s_max=60))
