"""A log must not be able to hurt a call."""

from __future__ import annotations

import io
import threading
from select import PIPE_BUF

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


class CountingStream(StalledStream):
    """Remembers what was written at once."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.goes_on.wait()
        self.writes.append(text)
        return len(text)


def test_several_processes_may_share_a_pipe_since_it_takes_each_write_whole() -> None:
    stream = CountingStream()
    sink = LogSink(stream)
    lines = [f"{number:099}\n" for number in range(1000)] + ["long" * 2000 + "\n", "last\n"]
    for line in lines:
        sink.write(line)
    stream.goes_on.set()
    sink.close()
    assert "".join(stream.writes) == "".join(lines)
    assert all(text.endswith("\n") for text in stream.writes)
    assert all(len(text) <= PIPE_BUF or text in lines for text in stream.writes)
    assert len(stream.writes) < 100
