"""Certificates: weights and a coded file from which the data that a run was trained on come back
exactly."""
