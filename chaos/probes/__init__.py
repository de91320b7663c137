"""Probes read one value each and assert nothing. They ask from inside the cluster, through a pod on the entry node."""
