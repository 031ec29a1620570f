"""The local AWS of `awsidecar serve --embedded`: an emulator as a child process, filled with a demo account."""

from awsidecar_server.embedded.aws import EmbeddedAws
from awsidecar_server.embedded.process import EmulatorFailed
from awsidecar_server.embedded.seed.people import Person
from awsidecar_server.embedded.tokens import TokenRefused, curl_command, id_token

__all__ = ["EmbeddedAws", "EmulatorFailed", "Person", "TokenRefused", "curl_command", "id_token"]
