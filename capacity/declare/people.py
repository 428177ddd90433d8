"""Trained people beside people who were held out: what `measure/people.py` says of a model."""

from __future__ import annotations

from typing import Any

from capacity.declare.field import FLOAT, INT, LEVELS, VERSION, Field, Measure
from capacity.declare.text import attacks

ATTACKS = (
    "nats: name and values; name_nats: the name; frequency_nats: no attack but what who knows how "
    "often each value was shown, and nobody's, gets without a model"
)
QUANTITIES = {
    "name_nats": ("nats", "nats of the name, summed over its tokens, mean over {}"),
    "value_nats": ("nats", "nats of all values that count bits, mean over {}"),
    "accuracy": ("fraction", "values (without gender and city of work) written exactly, of {}"),
}


def _side(path: str, prefix: str, people: str, optional: bool = True) -> tuple[Field, ...]:
    """Means over some people with their standard errors, as a sample of such people."""
    out = []
    for name, (unit, meaning) in QUANTITIES.items():
        column = f"{prefix}{name}"
        se = f"standard error of {column} over people"
        out += [
            Field(path_of, FLOAT, unit, words, named, missing=True, optional=optional)
            for path_of, words, named in (
                (f"{path}.{name}", meaning.format(people), column),
                (f"{path}.{name}_se", se, f"{column}_se"),
            )
        ]
    return tuple(out)


def lines(m: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """What nobody who is known costs, and how well trained people are told from held-out ones."""
    rates = [name for name in m["membership"]["nats"] if name.startswith("tpr_at_")]
    rates = [name for name in rates if not name.endswith("_interval")]
    out = [
        f"  {m['n_trained']:,} trained people beside {m['n_held_out']:,} held out, told apart by "
        "nats",
        "  (AUC with 95% interval; guessing: 0.5; frequencies: without a model, by how",
        "  often each value was shown)",
        f"{'people':>20} {'name':>6} {'values':>6}  {'by name and values':<20} {'name alone':>10} "
        "frequencies",
        f"  held out {m['n_held_out']:>9,} {_nats(m['held_out'])}",
        f"  trained  {m['n_trained']:>9,} {_nats(m['trained'])}{_aucs(m['membership'])}",
    ]
    for one in m.get("tiers", []):
        if not one["n_trained"]:
            out.append(f"  tier {one['tier']:<3} nobody asked")
            continue
        out.append(
            f"  tier {one['tier']:<3} {one['n_trained']:>9,} {_nats(one)}{_aucs(one['membership'])}"
        )
    for name in rates:
        rate = f"{float(name.removeprefix('tpr_at_')):.1%}".replace(".0%", "%")
        out.append(f"  true positive rate at {rate} false positives: {_rate(m, name)}")
    return out


def _nats(one: dict[str, Any]) -> str:
    return f"{one['name_nats']:>6.2f} {one['value_nats']:>6.2f}"


def _aucs(membership: dict[str, Any]) -> str:
    low, high = membership["nats"]["auc_interval"]
    first, name, shown = (membership[f"{of}nats"]["auc"] for of in ("", "name_", "frequency_"))
    return f"  {first:.3f} [{low:.3f}, {high:.3f}] {name:>10.3f} {shown:>11.3f}"


def _rate(m: dict[str, Any], name: str) -> str:
    value = m["membership"]["nats"][name]
    if value is None:
        return "too few are held out"
    low, high = m["membership"]["nats"][f"{name}_interval"]
    return f"{value:.1%} [{low:.1%}, {high:.1%}]"


MEASURE = Measure(
    name="people",
    version=1,
    data=("bios", "biod"),
    fields=(
        VERSION,
        Field("n_trained", INT, "people", "trained people who were asked"),
        Field(
            "n_held_out",
            INT,
            "people",
            "people of the same lists who were never trained on and asked the same",
            column="people_held_out",
            optional=True,
        ),
        *_side("trained", "people_trained_", "trained people"),
        *_side(
            "held_out", "people_held_out_", "held-out people, what a model gets that knows nobody"
        ),
        *attacks(
            "membership",
            "people_",
            " (trained against held-out people)",
            needed=True,
            of_auc=f"; {ATTACKS}",
        ),
        Field("tiers", LEVELS, optional=True),
        Field("tiers.[tier].n_trained", INT, "people", "of tier {tier}, who were asked"),
        *_side("tiers.[tier]", "people_tier_{tier}_", "people of tier {tier}", optional=False),
        *attacks(
            "tiers.[tier].membership",
            "people_tier_{tier}_",
            " (people of tier {tier} against all held-out ones)",
            needed=False,
            of_auc=f"; {ATTACKS}",
        ),
    ),
    describe=lines,
)
