"""What `import capacity` offers in Python: `capacity.table`, `load`, `bits`, `fit` and `figure`, which
answer as the commands do, and whose results show themselves in a notebook."""
