"""What `import capacity` offers in Python: `table`, `load`, `bits`, `fit` and `figure`, which
answer as the commands do, and whose results show themselves in a notebook."""

from capacity.base.frames import stay_quiet_of_width

stay_quiet_of_width()
