"""A log must not be able to hurt a call."""

from __future__ import annotations

import io
import threading

from awsidecar_server.ops.sink import LogSink


class StalledStream(io.StringIO):
    """A reader that takes nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()

    def write(self, text: str) -> int:
        self.goes_on.wait()
        return super().write(text)


class BrokenStream(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_lines_arrive_in_order() -> None:
    stream = io.StringIO()
    sink = LogSink(stream)
    for number in range(1000):
        sink.write(f"{number}\n")
    sink.close()
    assert stream.getvalue().split() == [str(number) for number in range(1000)]


def test_a_reader_that_is_gone_is_not_noticed_by_those_who_write() -> None:
    sink = LogSink(BrokenStream())
    assert sink.write("one\n") == 4
    sink.close()


def test_a_reader_that_stalls_costs_the_oldest_lines_and_holds_up_nobody() -> None:
    stream = StalledStream()
    sink = LogSink(stream)
    for number in range(50_000):
        sink.write(f"{number}\n")
    stream.goes_on.set()
    sink.close()
    written = stream.getvalue().split()
    assert written[-1] == "49999"
    assert len(written) < 50_000
