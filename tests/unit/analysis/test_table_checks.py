"""Which runs had levelled off: one rule for all kinds of study."""

import numpy as np
import pandas as pd

from capacity.analysis.table_checks import rising, shown_rising
from capacity.analysis.thresholds import RISING


def test_an_unknown_gain_is_not_shown_to_have_levelled_off_and_not_shown_to_rise():
    gains = [RISING, RISING + 1e-9, np.nan, np.nan, 0.5]
    status = ["finished", "finished", "finished", "missing", "failed"]
    table = pd.DataFrame({"status": status, "gain_last_tenth": gains})
    assert list(rising(table)) == [False, True, True, False, False]
    assert list(shown_rising(table)) == [False, True, False, False, True]
    assert list(rising(table.astype({"gain_last_tenth": object}))) == list(rising(table))
