"""Every way the harness itself can fail. A bad verdict is an assertion, never one of these.

    HarnessError
    ├── ClusterError        no cluster, not ours, not at its baseline, the engine is gone
    ├── ImageError          an image is neither there nor to be had
    ├── ScenarioError       a scenario asks for what there is not, or what does not go together
    ├── StackError          a manifest is wrong, or its stack does not become ready
    ├── FaultError          a fault could not be injected or undone
    ├── SteadyStateError    the system was not steady before the fault: a set-up error, not a finding
    ├── LoadError           the workload did not start, or did not close its records
    ├── WaitTimeout         a bounded wait ended; says the last value seen
    ├── HistoryError        a stored run cannot be read, or a running one not be written
    ├── MachineError        the machine itself refuses: its disk is full, a file may not be read
    └── Unsupported         this machine cannot do it; a skip with its reason

The message is one sentence for a person: what is wrong and what to do about it.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager


class HarnessError(Exception):
    """Base of all the harness's own errors."""


class ClusterError(HarnessError):
    """The cluster is missing, foreign, or not at its baseline."""


class ImageError(HarnessError):
    """An image, or what would build it, is not to be had."""


class ScenarioError(HarnessError, ValueError):
    """A scenario asks for what there is not, or for what does not go together."""


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


class MachineError(HarnessError):
    """The machine refuses what any program may ask of it."""


class Unsupported(HarnessError):
    """This machine cannot do what was asked; the message says why."""


_REMEDIES = {
    errno.ENOSPC: "make room there and try again",
    errno.EDQUOT: "make room there, or have your quota raised, and try again",
    errno.EROFS: "name a folder that can be written",
    errno.EACCES: "name another place, or have yourself allowed to use this one",
    errno.EPERM: "name another place, or run as a user who may do it",
    errno.EIO: "look after that disk: it does not give back what is on it",
    errno.EMFILE: "raise the limit of open files (ulimit -n) and try again",
    errno.ENFILE: "end other programs and try again",
    errno.ENOMEM: "end other programs and try again",
    errno.EAGAIN: "end other programs, or raise the limit of processes (ulimit -u), and try again",
}
"""What an operating system refuses for reasons of the machine; any other error of it is a defect of ours."""


def of_machine(error: OSError) -> MachineError | None:
    """The sentence for an error of the operating system that is the machine's; None for what is a defect of ours."""
    remedy = _REMEDIES.get(error.errno or 0)
    if remedy is None:
        return None
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes | os.PathLike) else ""
    return MachineError(f"{where}{(error.strerror or str(error)).lower()}; {remedy}")


@contextmanager
def machine_told() -> Iterator[None]:
    """Let errors of the machine in the body go on as the sentences they are; all others as they came."""
    try:
        yield
    except OSError as error:
        told = of_machine(error)
        if told is None:
            raise
        raise told from error
