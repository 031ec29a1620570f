"""The environment of the emulator's process: made from nothing, so that no secret of ours reaches it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

LOOPBACK = "127.0.0.1"
# What a Python, and the programs it starts, need of the sidecar's own environment.
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")
# The AWS services of the sidecar's contract, and those that they call. The others stay off: some open ports of
# their own, on all interfaces.
_SERVICES = (
    "apigateway",
    "backup",
    "bedrock",
    "bedrock-runtime",
    "cloudformation",
    "cognito-identity",
    "cognito-idp",
    "dynamodb",
    "dynamodbstreams",
    "elasticache",
    "events",
    "iam",
    "kinesis",
    "kms",
    "lambda",
    "logs",
    "monitoring",
    "rds",
    "rds-data",
    "s3",
    "secretsmanager",
    "sns",
    "sqs",
    "ssm",
    "states",
    "sts",
    "tagging",
)


def emulator_environment(
    ours: Mapping[str, str], *, port: int, scratch: Path, data_dir: Path | None, instance: str
) -> dict[str, str]:
    """All that the emulator's process is given. `instance` comes back in its health answer."""
    state = data_dir or scratch
    environment = {name: ours[name] for name in _INHERITED if name in ours}
    environment |= {
        # Not the user's: nothing in it shall find ~/.aws.
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "BIND_HOST": LOOPBACK,
        "GATEWAY_PORT": str(port),
        "AUTH": "true",
        "LOG_LEVEL": "WARNING",
        "SERVICES": ",".join(_SERVICES),
        # Two listeners that would open on all interfaces.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        # A socket that does not exist: MiniStack looks for containers of its own at start, and removes them.
        "DOCKER_HOST": f"unix://{scratch}/docker-is-off",
        # A label in the health answer and nothing else.
        "MINISTACK_EDITION": instance,
        # Cognito's signing keys are written there even when nothing is kept.
        "STATE_DIR": str(state / "state"),
        "S3_DATA_DIR": str(state / "s3"),
    }
    if data_dir is not None:
        environment |= {"PERSIST_STATE": "1", "S3_PERSIST": "1", "AWSIDECAR_DATA_DIR": str(data_dir)}
    return environment
