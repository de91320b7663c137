"""Checkers judge one guarantee each: pure functions from a history to a verdict."""

from chaos.checkers.at_most_one import at_most_one
from chaos.checkers.availability import availability, no_request_lost
from chaos.checkers.consistency import consistency
from chaos.checkers.disruption_budget import disruption_budget
from chaos.checkers.dns import dns
from chaos.checkers.durability import durability
from chaos.checkers.identity import identity
from chaos.checkers.load_balance import load_balance
from chaos.checkers.ordering import ordering
from chaos.checkers.placement import placement
from chaos.checkers.quiescence import quiescence
from chaos.checkers.recovery import recovery
from chaos.checkers.rescheduling import rescheduling
from chaos.checkers.verdict import Checker, Outcome, Verdict, judge, worst

__all__ = [
    "Checker",
    "Outcome",
    "Verdict",
    "at_most_one",
    "availability",
    "consistency",
    "disruption_budget",
    "dns",
    "durability",
    "identity",
    "judge",
    "load_balance",
    "no_request_lost",
    "ordering",
    "placement",
    "quiescence",
    "recovery",
    "rescheduling",
    "worst",
]
