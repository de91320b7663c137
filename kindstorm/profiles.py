"""Workloads for the clients of a scenario."""

from load.profiles import DOCUMENT_WRITES, HTTP_KEYS, HTTP_READS, Workload

__all__ = ["DOCUMENT_WRITES", "HTTP_KEYS", "HTTP_READS", "Workload"]
