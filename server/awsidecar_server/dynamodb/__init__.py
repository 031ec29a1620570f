"""What the sidecar makes of DynamoDB's operations: RPCs of its own, each by several calls of AWS's."""
