"""The parts of `make bench`, one module for each kind of thing that is measured; see `bench.py`."""
