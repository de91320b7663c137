"""What a client has read or written stays so, whichever pod answers and whichever pod dies."""

import pytest

from kindstorm.checkers import INVALID, consistency
from kindstorm.faults import kill_pod
from kindstorm.profiles import HTTP_KEYS
from kindstorm.targets import one


def each_its_own(document):
    """Edit the Deployment so that every pod keeps its keys to itself."""
    if document["kind"] == "Deployment":
        document["spec"]["template"]["spec"]["volumes"][1] = {"name": "data", "emptyDir": {}}


@pytest.mark.full
def test_consistency(experiment, stacks):
    """A pod is killed: of two that share a folder no client reads an older version; of two that do not, many do."""
    broken = stacks.keys().patched(each_its_own, name="keys-each-its-own")
    for stack, expected in ((broken, INVALID), (stacks.keys(), None)):
        run = experiment(stack=stack, workload=HTTP_KEYS, faults=[kill_pod(one("keys"))])
        run.judge(consistency(lag_s_max=0), **({"expect": expected} if expected else {}))
