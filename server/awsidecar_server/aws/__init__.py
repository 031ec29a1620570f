"""How a signed call reaches AWS: pooled clients, the signing identity, failures, and what is measured on the way."""
