"""uvicorn with limits to what comes before a request, and the supervisor of several processes behind one port."""
