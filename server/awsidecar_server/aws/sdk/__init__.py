"""Calls by way of the AWS SDK for Python: what only it can do, and the reference for the lane of our own."""
