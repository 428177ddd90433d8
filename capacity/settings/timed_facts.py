"""Settings of text by which a run is shown new facts at set steps: what each amounts to is in
`data.timed_facts`."""

from __future__ import annotations

from typing import Any

from capacity.settings.field import setting


def facts() -> Any:
    """How many."""
    return setting(
        0,
        "new facts of a grammar that are shown at set steps before data.last_view, every "
        "data.view_spacing steps, so many in one wording, so many in another one at each view, so "
        "many once, and so many never; 0: none",
        low=0,
        high=2**12,
        neutral=0,
    )


def views() -> Any:
    """How often each is shown."""
    return setting(
        10, "views of a new fact, but of those shown once", low=2, high=2**10, neutral=10
    )


def wordings() -> Any:
    """How many ways of saying it there are."""
    return setting(
        12, "wordings of a relation, which say the same of any fact", low=2, high=16, neutral=12
    )


def held_out_wordings() -> Any:
    """How many of them a fact is not shown in."""
    return setting(
        2,
        "wordings in which a new fact is never shown, but asked; other facts are shown in them",
        low=1,
        high=15,
        neutral=2,
    )


def known_facts() -> Any:
    """From which other facts wordings are learned."""
    return setting(
        0,
        "other subjects that the training set says all about, once in every wording, and the "
        "second relation too, by which a new fact implies one that is never shown; 0: none, and "
        "nothing implied is asked",
        low=0,
        high=2**16,
        neutral=0,
    )
