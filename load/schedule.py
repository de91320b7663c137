"""When each request is due, fixed in advance (an open loop).

A user that waits for its answers sends less while the service is down, and so hides the outage ("coordinated
omission", Gil Tene, "How NOT to Measure Latency", 2013). Here the due times do not depend on the answers: a late
request is sent late, and its latency counts from when it was due.
"""

from __future__ import annotations


class UserSchedule:
    """One user's share of the total schedule, in slots: slot n of all users together is due at start + n / rate.

    User u of N has the slots u, u + N, u + 2N, ...: the total is evenly spaced, and the cap on all requests is a
    bound on the slot number that needs no shared counter.
    """

    def __init__(self, user: int, users: int, rate_per_s: float, max_requests: int, start_ns: int) -> None:
        self._users = users
        self._rate_per_s = rate_per_s
        self._max_requests = max_requests
        self._start_ns = start_ns
        self.slot = user

    @property
    def exhausted(self) -> bool:
        """True when no slot is left below the cap."""
        return self.slot >= self._max_requests

    @property
    def due_ns(self) -> int:
        """When the current slot is due, in monotonic ns."""
        return self._due_ns(self.slot)

    def advance(self) -> None:
        """Go on to the user's next slot."""
        self.slot += self._users

    def skip_backlog(self, now_ns: int, max_behind_s: float) -> range:
        """Where the user is more than ``max_behind_s`` late, go on to its first slot still to come.

        Returns the slots passed over, empty when there are none.
        """
        first = self.slot
        if now_ns - self.due_ns > max_behind_s * 1e9:
            while not self.exhausted and self.due_ns < now_ns:
                self.advance()
        return range(first, self.slot, self._users)

    def _due_ns(self, slot: int) -> int:
        return self._start_ns + int(slot * 1e9 / self._rate_per_s)
