"""The fault catalogue: each fault injects, proves its effect, and heals as often as it is told to."""

from chaos.faults.drain_node import drain_node
from chaos.faults.kill_all_pods import kill_all_pods
from chaos.faults.kill_pod import kill_pod
from chaos.faults.node_outage import pause_node, stop_node
from chaos.faults.rolling_update import rolling_update
from chaos.faults.scale import scale

__all__ = ["drain_node", "kill_all_pods", "kill_pod", "pause_node", "rolling_update", "scale", "stop_node"]
