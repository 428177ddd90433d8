"""capacity: measure how many bits small language models store, and fit laws to the answer."""

__version__ = "0.2.0"
