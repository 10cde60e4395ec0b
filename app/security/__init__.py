"""API keys and rate limits. Knows no HTTP."""
