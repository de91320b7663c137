"""B6, B7, B8, B17: a StatefulSet's pods come one after the other and go in reverse; who comes back finds its data."""

import pytest

from kindstorm.checkers import INVALID, availability, identity, ordering
from kindstorm.faults import scale
from kindstorm.profiles import HTTP_READS


def scaled(experiment, stack):
    """Scale web from three to five, then to two, and back."""
    return experiment(stack=stack, workload=HTTP_READS, faults=[scale("StatefulSet/web", 5, 2)])


@pytest.mark.full
def test_scaling(experiment, stacks):
    """A set goes from three to five and to two under load: in order, without a change of identity, and it answers."""
    run = scaled(experiment, stacks.web())
    run.judge(
        ordering("web", kinds=("up", "down")),
        identity("web-*", dns_s_max=30),
        availability(error_ratio_max=0.1, gap_s_max=2.0),
    )


def parallel(document):
    """Edit web so that its controller waits for no pod."""
    if document["kind"] == "StatefulSet":
        document["spec"]["podManagementPolicy"] = "Parallel"


@pytest.mark.full
def test_parallel_where_order_was_promised_is_invalid(experiment, stacks):
    """The manifest says Parallel: the promise of order is broken, and that of no order is kept."""
    run = scaled(experiment, stacks.web().patched(parallel, name="web-parallel"))
    run.judge(ordering("web", kinds=("up", "down")), expect=INVALID)
    assert ordering("web", policy="Parallel", kinds=("up", "down")).check(run.history).outcome == "VALID"
