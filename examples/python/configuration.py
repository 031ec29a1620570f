"""What an application configures: where the sidecar is. Regions, pools and keys are the sidecar's own settings."""

import awsidecar

client = awsidecar.connect(
    # "host:port", or "unix:/run/awsidecar.sock"; absent: AWSIDECAR_TARGET, else 127.0.0.1:50051.
    target=None,
    # The time limit of each call in seconds; single calls may have their own.
    timeout=10,
)
with client:
    caller = client.credentials.who_am_i(timeout=5)
    print(f"{caller.tier} in {caller.region}")
