"""The HTTP routes: their uploads, what OpenAPI says of them, and the page."""
