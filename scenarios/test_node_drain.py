"""B14: a pod whose node is drained goes where its volume lets it: to another node, or to none until its own is back."""

import pytest

from kindstorm.checkers import INVALID, identity, recovery, rescheduling
from kindstorm.faults import drain_node
from kindstorm.profiles import HTTP_READS
from kindstorm.targets import node_of

# How long the node stays drained: what rescheduling needs to see. On local storage ten seconds of refusals, on shared
# storage a new pod that is ready, which takes a busy machine of two cores longer than the two or three seconds of an
# idle one.
HOLD_S = {"local": 15, "shared": 30}


@pytest.mark.smoke
@pytest.mark.parametrize("storage", ["local", "shared"])
def test_node_drain(experiment, stacks, storage):
    """web-1's node is drained: web-1 moves with its data on shared storage, and waits for its node on local storage."""
    moves = storage == "shared"
    run = experiment(
        stack=stacks.web(storage=storage),
        workload=HTTP_READS,
        faults=[drain_node(node_of("web-1"), hold_s=HOLD_S[storage])],
    )
    run.judge(rescheduling("web-1", moves=moves), identity("web-*", dns_s_max=30), recovery(after_heal_s_max=60))
    # Each storage is the other's broken twin: by the contrary promise the same run must be red.
    assert rescheduling("web-1", moves=not moves).check(run.history).outcome is INVALID
