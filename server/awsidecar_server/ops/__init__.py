"""How the sidecar is watched: metrics, logs, and the operations HTTP server."""
