"""Who is calling, and as whom calls are signed: three tiers that fail closed."""
