"""A field at fault, and how it comes to know its path."""

from __future__ import annotations

from awsidecar_server.errors import InvalidRequest


class Fault(Exception):
    """A field at fault, on its way up: each level puts its own name in front of the path."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self._steps: list[str] = []

    def within(self, step: str) -> Fault:
        """Puts one step in front, as `.tags` or `[2]`; gives the same fault, to be raised again."""
        self._steps.append(step)
        return self

    @property
    def path(self) -> str:
        return "".join(reversed(self._steps)).removeprefix(".")

    def as_request_error(self) -> InvalidRequest:
        return InvalidRequest.of(self.path, self.problem)
