"""Conditions a steady state is made of."""

from chaos.steady_state import ENTRY_ANSWERS, NAMES_RESOLVE, STEADY, WORKLOADS_READY, Condition

__all__ = ["ENTRY_ANSWERS", "NAMES_RESOLVE", "STEADY", "WORKLOADS_READY", "Condition"]
