"""What there is: one run, the data of a run before it is trained, and the files of runs."""
