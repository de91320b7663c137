"""What faults can be aimed at."""

from chaos.targets import one, ordinal, pod

__all__ = ["one", "ordinal", "pod"]
