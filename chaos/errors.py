"""Every way the harness itself can fail. A bad verdict is an assertion, never one of these.

    HarnessError
    ├── ClusterError        no cluster, not ours, not at its baseline, the engine is gone
    ├── ImageError          an image is neither there nor to be had
    ├── StackError          a manifest is wrong, or its stack does not become ready
    ├── FaultError          a fault could not be injected or undone
    ├── SteadyStateError    the system was not steady before the fault: a set-up error, not a finding
    ├── LoadError           the workload did not start, or did not close its records
    ├── WaitTimeout         a bounded wait ended; says the last value seen
    ├── HistoryError        a stored run cannot be read
    └── Unsupported         this machine cannot do it; a skip with its reason

The message is one sentence for a person: what is wrong and what to do about it.
"""


class HarnessError(Exception):
    """Base of all the harness's own errors."""


class ClusterError(HarnessError):
    """The cluster is missing, foreign, or not at its baseline."""


class ImageError(HarnessError):
    """An image, or what would build it, is not to be had."""


class StackError(HarnessError):
    """A manifest is wrong, or what it describes does not become ready."""


class FaultError(HarnessError):
    """A fault could not be injected, or not be undone."""


class SteadyStateError(HarnessError):
    """The system was not steady before the fault."""


class LoadError(HarnessError):
    """The workload did not start or did not end as it should."""


class WaitTimeout(HarnessError):
    """A bounded wait ended without what it waited for."""


class HistoryError(HarnessError):
    """A stored run is missing, truncated or not one of ours."""


class Unsupported(HarnessError):
    """This machine cannot do what was asked; the message says why."""
