"""How often people that are not asked about (junk, celebrities) are seen: exposures of a study are
those of the people that are."""

from __future__ import annotations

from collections.abc import Sequence

from capacity.analysis.facts.schema import Frame, OtherExposures
from capacity.base.words import digits, joined

SETTINGS = ("data.other_people", "data.other_parts", "data.main_parts")


def exposures(runs: Frame) -> list[OtherExposures]:
    """By number of other people and exposures asked, how often each of them is seen: counted
    exposures of the main people x their number x other_parts / main_parts / other_people. Windows
    (or renderings, where these are mixed) are dealt out in exactly these parts, and texts of both
    are of one length on average. Empty where no run has other people. runs: of `reading.prepare`.
    """
    if not set(SETTINGS) <= set(runs.columns):
        return []
    done = runs[(runs.status == "finished") & (runs["data.other_people"] > 0)]
    out: list[OtherExposures] = []
    for (people, asked), rows in done.groupby(["data.other_people", "asked"]):
        seen = rows.exposures_mean.fillna(rows.exposures) * rows.n_people
        each = seen * rows["data.other_parts"] / rows["data.main_parts"] / people
        out.append({"people": int(people), "asked": float(asked), "each": float(each.mean())})
    return out


def words(others: Sequence[OtherExposures]) -> list[str]:
    """A sentence, or none."""
    by_people: dict[int, list[OtherExposures]] = {}
    for one in others:
        by_people.setdefault(one["people"], []).append(one)
    phrases = [
        f"each of the {people:,} others is seen "
        + joined(
            f"{digits(one['each'], 2)} times at {one['asked']:,.0f}"
            for one in sorted(rows, key=lambda one: one["asked"])
        )
        for people, rows in sorted(by_people.items())
    ]
    if not phrases:
        return []
    return [f"Exposures are those of the people asked about; {'; '.join(phrases)}."]
