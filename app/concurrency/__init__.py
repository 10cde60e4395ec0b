"""A thread pool for pixels, a memory budget for decoded photos, photos in flight, and a watchdog for hung work."""
