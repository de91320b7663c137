"""S3, B12: what a database acknowledged is there after all of its pods have died, when it has a volume."""

import pytest

from kindstorm.checkers import durability, recovery
from kindstorm.faults import kill_all_pods
from kindstorm.profiles import DOCUMENT_WRITES

# The root user of manifests/stacks/mongo.yaml, through the way in for clients from outside.
WRITES = DOCUMENT_WRITES.with_(port=30082, username="username", password="password")  # noqa: S106 - the documented one


@pytest.mark.smoke
def test_data_persistence(experiment, stacks):
    """All mongodb pods die under writes: every acknowledged document is there, once."""
    run = experiment(stack=stacks.mongo(), workload=WRITES, faults=[kill_all_pods("mongodb")])
    run.judge(durability(), recovery(after_fault_s_max=60))
