"""The version of the server, which its distribution and its user agent carry."""

VERSION = "0.1.0"
