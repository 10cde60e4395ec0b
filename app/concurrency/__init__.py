"""Threads for pixels, the memory that decoded photos may take, photos in flight, and a watchdog for what hangs."""
