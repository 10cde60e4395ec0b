"""uvicorn with limits on connections and request heads, and a supervisor of several processes behind one port."""
