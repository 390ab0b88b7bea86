"""Decisions: plain functions of what was observed, the time and the settings."""
