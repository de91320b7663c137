"""S2, B1, B2, B4: a killed pod is replaced, and its Service goes on answering."""

import pytest

from kindstorm.checkers import availability, recovery
from kindstorm.faults import kill_pod
from kindstorm.profiles import HTTP_READS
from kindstorm.targets import one


@pytest.mark.smoke
def test_self_healing(experiment, stacks):
    """An nginx pod dies under load: it is replaced and the Service stays within its error budget."""
    run = experiment(stack=stacks.nginx(), workload=HTTP_READS, faults=[kill_pod(one("nginx"))])
    run.judge(availability(error_ratio_max=0.05, gap_s_max=2.0), recovery(after_fault_s_max=60))
