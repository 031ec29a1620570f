"""Asks AWS whether credentials are good before they are used."""

import awsidecar

with awsidecar.connect() as client:
    if not client.credentials.validate_credentials():
        raise SystemExit("Invalid or expired credentials")
    print("the service account's credentials are good")

    # Keys that AWS does not know are an answer, not an exception.
    wrong = awsidecar.AwsCredentials(access_key_id="AKIAIOSFODNN7EXAMPLE", secret_access_key="not-the-secret")
    with client.open_session(aws_credentials=wrong) as session:
        validity = session.credentials.validate_credentials()
        print("the other ones are", "good" if validity else f"not: {validity.reason}")
