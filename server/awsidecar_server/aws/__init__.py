"""How a signed call reaches AWS: endpoints, signatures, HTTP, retries, and what is measured on the way."""
