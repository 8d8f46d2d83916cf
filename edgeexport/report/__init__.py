"""Renders a Report: one module a form, each with ``render(report)``."""
