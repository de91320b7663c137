"""What faults can be aimed at."""

from chaos.targets import node, node_of, node_running, one, ordinal, pod

__all__ = ["node", "node_of", "node_running", "one", "ordinal", "pod"]
