"""The checkers a scenario can judge by."""

from chaos.checkers import (
    Outcome,
    Verdict,
    at_most_one,
    availability,
    consistency,
    disruption_budget,
    dns,
    durability,
    identity,
    load_balance,
    no_request_lost,
    ordering,
    placement,
    quiescence,
    recovery,
    rescheduling,
)

INVALID, UNKNOWN, VALID = Outcome.INVALID, Outcome.UNKNOWN, Outcome.VALID

__all__ = [
    "INVALID",
    "UNKNOWN",
    "VALID",
    "Outcome",
    "Verdict",
    "at_most_one",
    "availability",
    "consistency",
    "disruption_budget",
    "dns",
    "durability",
    "identity",
    "load_balance",
    "no_request_lost",
    "ordering",
    "placement",
    "quiescence",
    "recovery",
    "rescheduling",
]
