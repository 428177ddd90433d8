"""Settings of text by which one run has several kinds of canaries: what each amounts to is in
`data.canaries`."""

from __future__ import annotations

from typing import Any

from capacity.settings.field import setting

SHARE = (r"0|1|0?\.\d{1,6}|0\.0|1\.0", "a share from 0 to 1, such as 0.25")
AT = r"(0|1|0?\.\d{1,6}|0\.0|\d+\.\d{1,6}|\d{1,9}s)"
WINDOW = (
    rf"{AT}-{AT}(/[1-9]\d{{0,8}})?",
    "START-END or START-END/SPACING, parts of training such as 0.25-0.5 or steps such as 100s-300s",
)


def windows() -> Any:
    """Windows of training."""
    return setting(
        (),
        "parts of training in which canaries are seen, each START-END or START-END/SPACING "
        "(0.25-0.5, 100s-300s/8): those of every level begin and end together, their views evenly "
        "between, or every SPACING steps; each window has canaries of its own; empty: none",
        form=WINDOW,
        neutral=(),
    )


def lengths() -> Any:
    """A ladder of lengths."""
    return setting(
        (),
        "tokens of canaries, each length with canaries of its own; a canary begins its row, and "
        "other text of its own in every copy follows; empty: whole rows",
        low=2,
        neutral=(),
    )


def noise() -> Any:
    """Shares of uniform tokens."""
    return setting(
        (),
        "parts of a canary's tokens that are random ones, at random places of a sequence of the "
        "text, each with canaries of its own (with data.canary_text=pool); empty: none",
        form=SHARE,
        neutral=(),
    )


def copy_noise() -> Any:
    """Shares of replaced tokens."""
    return setting(
        (),
        "parts of the tokens that are replaced in every copy of a canary but the first, at random "
        "places anew in each, each with canaries of its own; empty: all copies are exact",
        form=SHARE,
        neutral=(),
    )
