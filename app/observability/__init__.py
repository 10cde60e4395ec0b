"""Metrics, logs, and the timing of stages."""
