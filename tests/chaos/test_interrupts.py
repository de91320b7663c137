"""The first interrupt stops what runs, a clean-up is left alone by it, and a second one breaks into that too."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from chaos import interrupts


@pytest.fixture(autouse=True)
def answered() -> Iterator[None]:
    """Both signals are answered; afterwards they are as they were."""
    before = [signal.getsignal(number) for number in interrupts.SIGNALS]
    interrupts.answer()
    interrupts.answer()
    yield
    interrupts.rest()
    assert [signal.getsignal(number) for number in interrupts.SIGNALS] == before


@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_the_first_stops_what_runs(number: int) -> None:
    """SIGTERM, which a CI system sends, as Ctrl-C."""
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_a_clean_up_is_finished_first(number: int) -> None:
    """A first interrupt within it waits for the end of the outermost."""
    done = []

    def clean_up() -> None:
        with interrupts.held():
            with interrupts.held():
                signal.raise_signal(number)
                done.append("inner")
            assert interrupts.waiting()
            done.append("outer")

    with pytest.raises(KeyboardInterrupt):
        clean_up()
    assert done == ["inner", "outer"]
    assert not interrupts.waiting()


def test_a_second_one_breaks_in() -> None:
    """Into the clean-up in which the first one waits."""
    done = []

    def clean_up() -> None:
        with interrupts.held():
            signal.raise_signal(signal.SIGINT)
            done.append("after the first")
            signal.raise_signal(signal.SIGINT)
            done.append("after the second")

    with pytest.raises(KeyboardInterrupt):
        clean_up()
    assert done == ["after the first"]


def test_an_interrupt_leads_to_a_clean_up_that_the_next_one_breaks_into() -> None:
    """What ran was stopped by the first; it does not wait a second time."""
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with interrupts.held(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_clean_up_that_fails_is_still_interrupted() -> None:
    """What failed is the context of the interrupt."""

    def clean_up() -> None:
        with interrupts.held():
            signal.raise_signal(signal.SIGINT)
            raise OSError("no space")

    with pytest.raises(KeyboardInterrupt) as interrupt:
        clean_up()
    assert isinstance(interrupt.value.__context__, OSError)


def test_nothing_is_held_back_by_an_uninterrupted_clean_up() -> None:
    """Its end is no interrupt."""
    with interrupts.held():
        pass
    assert not interrupts.waiting()
