"""Where models come from: one module a kind, found by its name.

Each module has ``accepts(model) -> bool``, which looks at the text the user gave and at the disk, and
``open_source(model, options) -> Source``, which is cheap.
"""
