"""A server and a driver for each test of the load, both gone after it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from local_service import Service, await_end

from load.driver import LocustLoad


@pytest.fixture
def service() -> Iterator[Service]:
    """A fresh server."""
    server = Service()
    yield server
    server.stop()


@pytest.fixture
def load() -> Iterator[LocustLoad]:
    """A driver whose process is gone after the test, whatever the test did."""
    driver = LocustLoad()
    yield driver
    if driver.running():
        os.kill(driver.pid, signal.SIGKILL)
        await_end(driver.pid)
