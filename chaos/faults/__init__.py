"""The fault catalogue: each fault injects, proves its effect, and heals as often as it is told to."""

from chaos.faults.drain_node import drain_node
from chaos.faults.kill_pod import kill_pod
from chaos.faults.scale import scale

__all__ = ["drain_node", "kill_pod", "scale"]
