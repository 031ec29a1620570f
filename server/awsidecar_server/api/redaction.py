"""What is taken out of AWS's messages before they leave: account numbers in ARNs, and access key ids."""

from __future__ import annotations

import re

_MASKED_ACCOUNT = "************"
_ARN_ACCOUNT = re.compile(r"(arn:[\w-]+:[\w-]+:[\w-]*:)\d{12}")
# Prefixes of IAM's unique ids that name keys and principals ("IAM identifiers", IAM user guide).
_KEY_ID = re.compile(r"(?<![A-Z0-9])(AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}")


def redact(message: str) -> str:
    """The message without account numbers and key ids. Names of tables, roles and indexes stay: they help."""
    return _KEY_ID.sub(lambda found: found[1] + "…", _ARN_ACCOUNT.sub(rf"\g<1>{_MASKED_ACCOUNT}", message))
