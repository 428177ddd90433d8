"""Results, run ids and words of today's code, kept so that a change of structure cannot change
them.

`analysis.py` is the only file here that calls the code under test: whatever moves there changes
imports here. `compare.py` says what counts as equal. UPDATE_GOLDEN=1 rewrites golden files, and the
diff of the commit then shows what changed.
"""
