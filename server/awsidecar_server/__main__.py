"""`python -m awsidecar_server` is `awsidecar`."""

import sys

from awsidecar_server.cli import main

sys.exit(main())
