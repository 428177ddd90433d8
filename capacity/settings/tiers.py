"""Settings of data whose items are seen at different rates: what they amount to is in
`data.tiers`."""

from __future__ import annotations

from typing import Any

from capacity.settings.field import setting


def tiers() -> Any:
    """Classes of rates."""
    return setting(
        (),
        "classes of items that are seen at different rates, each SHARExRATE, as [0.5x1,0.25x2,"
        "0.25x4]: shares add up to 1, rates are divisors of the largest; the mean over all items "
        "stays; empty: all alike",
        form=(r"(\d+(\.\d*)?|\.\d+)x\d{1,9}", "SHARExRATE, such as 0.25x4"),
        neutral=(),
    )


def zipf() -> Any:
    """Rates by a law."""
    return setting(
        0.0,
        "s of Zipf's law, by which the item of rank i is seen i^-s times as often as the first, in "
        "classes that double in rate; 0: all alike",
        low=0.0,
        high=8.0,
        neutral=0.0,
    )


def zipf_tiers() -> Any:
    """Classes that the law is cut into."""
    return setting(
        8,
        "number of classes, with data.zipf; the largest rate is 2^(this - 1)",
        low=2,
        high=13,
        neutral=8,
    )
