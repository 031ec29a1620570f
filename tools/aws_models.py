"""Copies the service models and endpoint rules of the locked botocore into the server, without their documentation.

Run it in the contract environment: `make models` writes them, `make contract` checks that they are up to date.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import botocore

TARGET = Path(__file__).parent.parent / "server" / "awsidecar_server" / "aws" / "models"
SOURCE = Path(botocore.__file__).parent / "data"
_RULES = "endpoint-rule-set-1"
# Of the services that only identity calls, the rules are enough.
DOCUMENTS = {
    ("dynamodb", "2012-08-10"): ("service-2", _RULES),
    ("dynamodbstreams", "2012-08-10"): ("service-2", _RULES),
    ("sts", "2011-06-15"): (_RULES,),
    ("cognito-identity", "2014-06-30"): (_RULES,),
}

NOTICE = """\
The JSON files below this directory are the service models, endpoint rules and partitions of botocore {version}, without
their documentation. They are written by `make models`; do not edit them.

botocore
Copyright 2012-2026 Amazon.com, Inc. or its affiliates. All Rights Reserved.
https://github.com/boto/botocore

Licensed under the Apache License, Version 2.0; the text is in the file LICENSE of this project and at
https://www.apache.org/licenses/LICENSE-2.0
"""


def files() -> Iterator[tuple[Path, str]]:
    """Each file that belongs below the target, and its content."""
    yield Path("NOTICE"), NOTICE.format(version=metadata.version("botocore"))
    partitions = json.loads((SOURCE / "partitions.json").read_text(encoding="utf-8"))
    yield Path("partitions.json"), json.dumps(partitions, indent=1) + "\n"
    for (service, api_version), documents in DOCUMENTS.items():
        for document in documents:
            packed = (SOURCE / service / api_version / f"{document}.json.gz").read_bytes()
            model = without_documentation(json.loads(gzip.decompress(packed)))
            # Plain, one token a line: a change of AWS's model shows in the diff.
            yield Path(service, api_version, f"{document}.json"), json.dumps(model, indent=1) + "\n"


def without_documentation(node: Any) -> Any:
    """The same tree without documentation texts. A member that is called `documentation` is a map, and stays."""
    if isinstance(node, dict):
        return {
            key: without_documentation(value)
            for key, value in node.items()
            if not (key == "documentation" and isinstance(value, str))
        }
    if isinstance(node, list):
        return [without_documentation(element) for element in node]
    return node


def outdated() -> list[str]:
    """The files that are missing or differ."""
    return [
        str(path)
        for path, content in files()
        if not (TARGET / path).is_file() or (TARGET / path).read_text(encoding="utf-8") != content
    ]


def write() -> None:
    for path, content in files():
        (TARGET / path).parent.mkdir(parents=True, exist_ok=True)
        (TARGET / path).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    write()
    sys.stdout.write(f"service models of botocore {metadata.version('botocore')} written\n")
