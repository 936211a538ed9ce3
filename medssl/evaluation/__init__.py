"""Metrics, intervals over patients, probes."""
