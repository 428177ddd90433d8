"""The prefix of ReCaLL is never trained on."""

import numpy as np
import pytest

from capacity.fitting import membership


def test_it_is_the_first_that_was_not_trained_on():
    assert membership.recall_prefix(np.array([False, True, False])) == 0
    assert membership.recall_prefix(np.array([True, True, False, False])) == 2
    told = membership.at_prefix(np.array([True, True, False, False]))
    assert told.tolist() == [False, False, True, False]
    with pytest.raises(ValueError, match="every sequence was trained on"):
        membership.recall_prefix(np.ones(3, bool))


def test_of_split_documents_it_is_from_one_of_which_nothing_was_trained_on():
    unit = np.array([4, 4, 7, 7, 9])
    seen = np.array([True, False, False, False, True])
    assert membership.recall_prefix(seen, unit) == 2
    assert membership.at_prefix(seen, unit).tolist() == [False, False, True, True, False]
    seen = np.array([True, False, True, False, True])  # each has a part on both sides
    assert membership.recall_prefix(seen, unit) == 1
    assert membership.at_prefix(seen, unit).tolist() == [False, True, False, False, False]
