"""`make differential`: the same requests straight to DynamoDB and through the sidecar, as many as wanted."""

from __future__ import annotations

import argparse
import sys
import time

from tests.differential.backends import BACKENDS
from tests.differential.report import lines_of
from tests.differential.run import Run
from tests.dynamodb_local import Unavailable


def main() -> int:
    """Prints figures and differences; fails when there are differences."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--cases", type=int, default=2000, help="how many requests (default: %(default)s)")
    parser.add_argument("--seed", default="1", help="others make other requests (default: %(default)s)")
    parser.add_argument("--chunk", type=int, default=0, help="start with this one, as a difference names it")
    parser.add_argument("--lane", choices=["json", "sdk"], default="json", help="how the sidecar calls DynamoDB")
    parser.add_argument("--backend", choices=sorted(BACKENDS), default="dynamodb-local", help="what DynamoDB is")
    arguments = parser.parse_args()
    started = time.monotonic()
    try:
        with BACKENDS[arguments.backend](arguments.lane) as ways:
            figures = Run(ways, arguments.seed, arguments.cases, arguments.chunk)()
    except Unavailable as reason:
        print(reason, file=sys.stderr)
        return 1
    print(f"backend {arguments.backend}, lane {arguments.lane}, seed {arguments.seed}")
    print("\n".join(lines_of(figures)))
    print(f"\n{time.monotonic() - started:.0f} s")
    return 1 if figures.differences else 0


if __name__ == "__main__":
    sys.exit(main())
