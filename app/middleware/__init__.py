"""The ASGI layers around the routes; `request_context` draws their order."""
