"""What a sweep has left."""

from sweeps import (  # noqa: F401
    FOUR,
    PINS,
    TWO,
    assert_undisturbed,
    bench,
    small_disk,
    stacks_of,
    undisturbed,
)


def outcome(run, status):
    """The least record that says how a run ended."""
    from capacity.run.record import Trained, _record

    base = _record(run, None, status, Trained(1.0))
    held = {
        "bits": 1.0,
        "ceiling_bits": 2.0,
        "fraction_of_ceiling": 0.5,
        "bits_per_parameter": {"total": 0.1, "paper": 0.1},
    }
    if status == "failed":
        return base | {"error": {"reason": "planted", "step": 1, "traceback": None}}
    measures = {"memorization": {"version": 1, "strict": held, "paper": held}}
    seen = {"exposures_min": 1, "exposures_max": 1}
    return base | {
        "measures": measures,
        "convergence": {"gain_last_tenth": 0.0},
        "training": base["training"] | seen,
    }
