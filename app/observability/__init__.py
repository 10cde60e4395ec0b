"""Metrics, logs, and the seconds of each stage."""
