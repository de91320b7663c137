"""The faults a scenario can name."""

from chaos.faults import drain_node, kill_pod, scale

__all__ = ["drain_node", "kill_pod", "scale"]
