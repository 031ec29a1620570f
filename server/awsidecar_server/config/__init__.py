"""The configuration: one frozen tree whose fields are the architecture."""

from awsidecar_server.config.process import EmbeddedConfig, LogConfig, ShutdownConfig
from awsidecar_server.config.sections import AdminConfig, AwsConfig, CognitoConfig, IdentityConfig, ListenConfig
from awsidecar_server.config.setting import BadConfig, Setting
from awsidecar_server.config.tree import Config, settings

__all__ = [
    "AdminConfig",
    "AwsConfig",
    "BadConfig",
    "CognitoConfig",
    "Config",
    "EmbeddedConfig",
    "IdentityConfig",
    "ListenConfig",
    "LogConfig",
    "Setting",
    "ShutdownConfig",
    "settings",
]
