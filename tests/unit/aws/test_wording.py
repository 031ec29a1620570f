from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote

import pytest

from awsidecar_server.aws.wording import without_secrets
from awsidecar_server.identity.credentials import Credentials

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
TOKEN = "IQoJb3JpZ2luX2VjEXAMPLE//a+token="


@pytest.mark.parametrize("secret", [SECRET, TOKEN])
@pytest.mark.parametrize(
    "written", [str, lambda text: quote(text, safe=""), lambda text: b64encode(text.encode()).decode()]
)
def test_what_signs_is_masked_in_every_form(secret: str, written: object) -> None:
    assert callable(written)
    message = without_secrets(f"expected ({written(secret)})", Credentials("AKIAEXAMPLE", SECRET, TOKEN))
    assert message == "expected (…)"


@pytest.mark.parametrize("secret", ["", "x", "test", "dummy-secret"])
def test_words_stay_where_an_emulator_has_one_for_a_secret(secret: str) -> None:
    """Emulators take any secret key, and people give them words that messages have, too."""
    message = "Requested resource not found: Table: test-x-dummy-secret not found"
    assert without_secrets(message, Credentials("test", secret, "test")) == message
