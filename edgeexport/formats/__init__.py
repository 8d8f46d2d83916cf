"""What models are converted to: one module or package a format, found by its name.

Each has ``open_format() -> Format`` (see :mod:`edgeexport.conversion`).
"""
