"""What the published law of membership predicts at the stated tokens per parameter."""

from __future__ import annotations

from typing import cast

from capacity.analysis.text import membership_law as law
from capacity.audit.schema import Predicted
from capacity.published import values as published

SOURCE = "morris/membership_repaired"
# tokens per parameter above which the law says 0.500: its tail is exponential and was not measured
MOST = 20.0


def predicted(tokens_per_parameter: float) -> Predicted:
    """F1 of the loss attack, half of all flagged, by 1/2 (1 + c1 sigma(-c2 (t - c3)))."""
    value = published.get(SOURCE)
    setting = cast(dict, value.setting)
    f1 = float(law.repaired(tokens_per_parameter, **law.PUBLISHED))
    smallest, largest = (f"{p / 1e6:.3g}M" for p in setting["parameters"])
    return {
        "f1": f1,
        "tokens_per_parameter": tokens_per_parameter,
        "extrapolated": tokens_per_parameter > MOST,
        "scope": f"windows of {setting['seq_len']} tokens of {setting['text']}, models of "
        f"{smallest} to {largest} parameters",
        "source": value.source,
    }
