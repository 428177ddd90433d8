"""A small valid configuration to change."""


def tree(**changes):
    """A small valid configuration as nested dictionaries; changes are section__name=value or
    seed=value."""
    out = {
        "data": {"vocab_size": 16, "seq_len": 8, "n_sequences": 40},
        "model": {"d_model": 8, "n_heads": 2},
        "train": {"steps": 60, "batch_size": 8, "warmup_steps": 5},
        "seed": 3,
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            out.setdefault(section, {})[name] = value
        else:
            out[section] = value
    return out
