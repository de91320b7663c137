"""The faults a scenario can name."""

from chaos.faults import drain_node, kill_all_pods, kill_pod, pause_node, rolling_update, scale, stop_node

__all__ = ["drain_node", "kill_all_pods", "kill_pod", "pause_node", "rolling_update", "scale", "stop_node"]
