"""The HTTP routes: their uploads and options, what OpenAPI says of them, and the page."""
