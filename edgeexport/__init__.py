"""edgeexport: a trained model to the devices people own, with proof that it arrived intact."""

__version__ = "0.1.0"
