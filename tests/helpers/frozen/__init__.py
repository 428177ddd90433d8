"""Results, run ids and words of today's code, kept so that a change of structure cannot change
them.

`analysis.py` is the only file here that calls the code under test: whoever moves that code changes
imports there. `compare.py` says what counts as equal. Goldens are rewritten with UPDATE_GOLDEN=1
(see `compare.UPDATE`), and the diff of the commit then shows what changed.
"""
