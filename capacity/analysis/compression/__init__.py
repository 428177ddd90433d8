"""Compression as a ruler, over the runs of many studies: Information Capacity, compression beside
knowledge, density of an architecture or of an edit."""
