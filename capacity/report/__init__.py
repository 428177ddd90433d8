"""A study as one HTML page that needs nothing else: see `page.py`."""
