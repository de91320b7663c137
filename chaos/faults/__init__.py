"""The fault catalogue: each fault injects, proves its effect, and heals as often as it is told to."""

from chaos.faults.kill_pod import kill_pod
from chaos.faults.scale import scale

__all__ = ["kill_pod", "scale"]
