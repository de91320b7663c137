"""Workloads for the clients of a scenario."""

from load.profiles import HTTP_READS, Workload

__all__ = ["HTTP_READS", "Workload"]
