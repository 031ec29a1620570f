"""The command line: `awsidecar serve | health`. Bad configuration exits 64, with one line."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from awsidecar_server.config import BadConfig, Config, settings
from awsidecar_server.version import VERSION

_EX_USAGE = 64  # sysexits.h: the command was used incorrectly
# Of the options that take a text, by name.
_EXAMPLES = {"config": "awsidecar.toml", "workers": "4", "data_dir": "./data", "target": "127.0.0.1:50051"}


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point of `awsidecar`."""
    _open_standard_streams()
    options = _parser().parse_args(arguments)
    try:
        _refuse_empty(options)
        return int(options.run(options))
    except BadConfig as bad:
        print(f"awsidecar: {bad}", file=sys.stderr)
        return _EX_USAGE
    except BrokenPipeError:
        return 0


def _open_standard_streams() -> None:
    """Makes descriptors 0 to 2 exist: sockets that took their numbers would be written to, and uvloop refuses them."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdout = sys.stdout or open(1, "w", closefd=False, encoding="utf-8")  # noqa: SIM115 - for the whole process
    sys.stderr = sys.stderr or open(2, "w", closefd=False, encoding="utf-8")  # noqa: SIM115 - likewise


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="awsidecar", description="A gRPC data-access sidecar for AWS.")
    parser.add_argument("--version", action="version", version=f"awsidecar {VERSION}")
    commands = parser.add_subparsers(required=True, metavar="command")

    serve = commands.add_parser(
        "serve",
        help="run the sidecar",
        description="Runs the sidecar until SIGTERM.",
        epilog=_settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.add_argument(
        "--config",
        metavar="FILE",
        help="TOML file of settings (or AWSIDECAR_CONFIG_FILE); the environment wins over it",
    )
    serve.add_argument("--embedded", action="store_true", help="start a local AWS with sample data, and use it")
    serve.add_argument("--workers", metavar="N", help="processes that share the port (or AWSIDECAR_LISTEN_WORKERS)")
    serve.add_argument("--data-dir", metavar="DIR", help="with --embedded: keep the data there between runs")
    serve.set_defaults(run=_serve)

    health = commands.add_parser("health", help="ask a running sidecar whether it serves; exit 0 when it does")
    health.add_argument(
        "--target", default=_default_target(), help="where it serves gRPC (default, from the settings: %(default)s)"
    )
    health.add_argument("--timeout", type=float, default=1.0, metavar="SECONDS", help="default: %(default)s")
    health.set_defaults(run=_health)
    return parser


def _settings_help() -> str:
    """Every setting: variable, key in the file, default and meaning."""
    lines = ["settings (environment variable, key in the file, default):"]
    section = ""
    for leaf in settings():
        if leaf.section != section:
            section = leaf.section
            lines.append(f"\n  [{section}]")
        default = ",".join(leaf.default) if isinstance(leaf.default, tuple) else leaf.default
        shown = (
            ""
            if default in (None, "")
            else f", default {str(default).lower() if isinstance(default, bool) else default}"
        )
        lines.append(f"  {leaf.env} ({leaf.name}{shown})\n      {leaf.help}; for example {leaf.example}")
    lines.append(
        "\nThe sidecar's own credentials come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN,\n"
        "or else from the AWS SDK's default chain (web identity, container, profile, instance)."
    )
    return "\n".join(lines)


def _refuse_empty(options: argparse.Namespace) -> None:
    """An empty variable counts as unset; an option that is given and empty is a mistake: a variable of the shell, say."""
    for name, example in _EXAMPLES.items():
        if getattr(options, name, None) == "":
            option = f"--{name.replace('_', '-')}"
            raise BadConfig(f"{option}: is empty; for example {option} {example}")


def _serve(options: argparse.Namespace) -> int:
    environment = dict(os.environ)
    if options.embedded:
        environment["AWSIDECAR_EMBEDDED_ENABLED"] = "true"
    if options.data_dir:
        environment["AWSIDECAR_EMBEDDED_DATA_DIR"] = options.data_dir
    if options.workers:
        environment["AWSIDECAR_LISTEN_WORKERS"] = options.workers
    # Until the event loop takes it over: as the first process of a container, one would be deaf to it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # Checked before anything heavy is imported, and before anything is bound.
    config = Config.load(environment, options.config)
    if options.data_dir and not config.embedded.enabled:
        raise BadConfig(
            "--data-dir: is for the embedded AWS; for example awsidecar serve --embedded --data-dir ./data"
        )

    from awsidecar_server.api.listeners import BindError
    from awsidecar_server.embedded.process import EmulatorFailed
    from awsidecar_server.lifecycle import run
    from awsidecar_server.ops import log
    from awsidecar_server.run import serve
    from awsidecar_server.workers.post import WorkersFailed

    log.configure(config.log)
    try:
        return run(serve(config, environment))
    except BindError as taken:
        raise BadConfig(str(taken)) from taken
    except (EmulatorFailed, WorkersFailed) as failed:
        print(f"awsidecar: {failed}", file=sys.stderr)
        return 1


def _default_target() -> str:
    """Where a sidecar with the environment's settings serves; the settings themselves are checked when it starts."""
    host = os.environ.get("AWSIDECAR_LISTEN_HOST") or "127.0.0.1"
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    bracketed = f"[{reachable}]" if ":" in reachable else reachable
    return f"{bracketed}:{os.environ.get('AWSIDECAR_LISTEN_PORT') or 50051}"


def _health(options: argparse.Namespace) -> int:
    from awsidecar_server.api.probe import is_serving

    serving = asyncio.run(is_serving(options.target, options.timeout))
    print("serving" if serving else "not serving")
    return 0 if serving else 1
