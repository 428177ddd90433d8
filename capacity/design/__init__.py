"""Designs of studies: which runs to train for an interval of a wanted width, before anything is
spent."""
