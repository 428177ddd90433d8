"""Limits by which runs are sorted, each once, for every kind of study.

Every value is a choice of this project, made before the studies it sorts; `sensitivity` of a fit
and the flags of a report show what each does.
"""

from __future__ import annotations

from capacity.fitting import membership

# Relative gain of bits over the last tenth of training above which a run counts as still rising: at
# this pace another tenth could add 2% again. Under a learning rate that decays to zero a small gain
# proves little; a doubled budget does.
RISING = 0.02

# A run that holds over this part of all that its data can give is data-limited: the data ended
# before the model was full, so its bits are a lower bound of capacity. 0.95 leaves room for
# imperfect training: full-batch runs at pocket scale end at 0.99 of their ceiling when the data
# fit, and published models that hold all their data end at 0.98 to 0.99.
DATA_LIMITED = 0.95

# ceiling / bits below this lies in the rounded corner of min(alpha P, H). Near it Morris et al.
# (arXiv 2505.24832 v3, appendix A.1 against Table 1) lose 8 to 12%. With the smooth corner of
# `fitting.forms` and their k of 4 to 5.5, a run exactly at the cut reads 12% to 6% low, and 5% to
# 2% at the strict cut.
CORNER = 1.25
STRICT_CORNER = 1.5

# Part of R^max from which on a fitted plateau is the ceiling of the data: runs that hold 90% and
# more of what there is to learn tell when the data end, not what the model could hold.
DATA_CEILING = 0.9

# Counted / asked exposures - 1 beyond which a run was not shown its data as often as it should have
# been: more than the rounding of steps can explain.
EXPOSURES_OFF = 0.01

# Fewest degrees of freedom of a class of arms for its own noise of seeds; below, it borrows the
# larger noise of the others.
FEW_DOF = 4

# Standard deviations of random splits from 0.5 beyond which a bag of words, which sees no model,
# separates members from others: the split is then broken, and no attack on it means anything.
BROKEN_SPLIT = 4.0

# Part of the held-out sequences that may share tokens in a row with the training set: more of them
# alone could fill the false positives of TPR at 1% FPR, and no verdict on membership is given.
OVERLAP = membership.OVERLAP_LIMIT
