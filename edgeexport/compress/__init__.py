"""Methods that make a source smaller or easier to quantize; each module has ``open_method()``."""
