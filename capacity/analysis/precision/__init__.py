"""Studies of precision."""


def applies(runs, table) -> bool:
    from capacity.analysis.precision.bit_widths import asked

    return asked(runs)
