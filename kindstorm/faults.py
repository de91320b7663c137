"""The faults a scenario can name."""

from chaos.faults import kill_pod, scale

__all__ = ["kill_pod", "scale"]
