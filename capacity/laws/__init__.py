"""Capacity laws: the forms, their estimators with intervals, and the written summary of a study."""
