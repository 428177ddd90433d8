"""What single sequences are worth, in words and tables."""

from __future__ import annotations

from capacity.analysis.text.schema import Memory, SubsetEffects
from capacity.analysis.text.subset_effects import MOST
from capacity.analysis.text.tables import MODEL, SIZE
from capacity.base.table import Column, Table
from capacity.base.words import count, digits, ends, p_value, percent, plural
from capacity.fitting.statistics import LEVEL
from capacity.fitting.subsets import PERMUTATIONS, TAIL

ALPHA = 1 - LEVEL
RARE = "arXiv 1906.05271: what is memorized is rare"


def answers(numbers: Memory) -> list[str]:
    """Of the last family, the largest model."""
    if not (found := numbers.get("subsets")):
        return []
    one = found[-1]
    out = [
        f"**What a sequence costs:** {one['model']} holds **{one['bits']:,.0f}** "
        f"{ends([round(x) for x in one['interval']])} bits of its {one['members']:,.0f} members "
        f"over models of other parts of the pool ({_per(one)} per parameter, 95% over "
        f"{plural(one['models'], 'model')}), an upper value of what it stores: these overfit like "
        "it, and are worse on what they have not seen than a reference on more data."
    ]
    rho = f"rank correlation {digits(one['rho'])} {ends(one['rho_interval'])}"
    shown = p_value(one["rho_p"])
    p = f"p {shown[0]} {shown[1:]}" if shown.startswith("<") else f"p = {shown}"
    if one["rho"] is None or one["rho_p"] is None:
        why = f"{plural(one['models'], 'model')} are too few"
        out.append(f"Whether surprising sequences are memorized more: **cannot tell** ({why}).")
    elif one["rho_p"] > ALPHA:
        out.append(
            f"Whether surprising sequences are memorized more: **cannot tell** ({rho}, {p})."
        )
    else:
        way = "more" if one["rho"] > 0 else "less"
        agrees = "agrees" if one["rho"] > 0 else "differs"
        out.append(f"Surprising sequences are memorized **{way}**: {rho}, {p}; {agrees} ({RARE}).")
    if influence := one["influence"]:
        surely = influence["surely"]
        out.append(
            f"Of {count(influence['pairs'])} pairs of sequences **{surely:,}** "
            f"{'has' if surely == 1 else 'have'} an influence on each other's loss that chance "
            f"does not give; beyond a p of {percent(TAIL)} lie {percent(influence['tail'], 2)} of "
            f"all pairs, by chance {percent(influence['chance'], 2)}."
        )
    return out


def _per(one: SubsetEffects) -> str:
    per = [x / one["parameters"] for x in (one["bits"], *one["interval"])]
    return f"{digits(per[0])} {ends(per[1:])}"


def tables(numbers: Memory) -> list[Table]:
    """What is memorized by family of models, and the strongest influences of the last one."""
    if not (found := numbers.get("subsets")):
        return []
    rows = [
        [
            one["model"],
            digits(one["tokens_per_parameter"]),
            str(one["models"]),
            f"{one['sequences']:,}",
            f"{one['bits']:,.0f} {ends([round(x) for x in one['interval']])}",
            _per(one),
            percent(one["above"]),
            f"{one['surely']:,}",
            f"{digits(one['rho'], 2)} {ends(one['rho_interval'], 2)}".strip(),
            p_value(one["rho_p"]),
        ]
        for one in found
    ]
    columns = [
        MODEL,
        SIZE,
        Column("models", detail=True),
        Column("sequences", detail=True),
        Column("bits", "memorized of as many as a model has seen, 95% over models"),
        Column("per parameter", "of these bits"),
        Column("above", f"sequences beyond what {percent(ALPHA, 0)} pass by chance", detail=True),
        Column("surely", "beyond all that chance gives", detail=True),
        Column("rho", "rank correlation of bits memorized and bits of code without", detail=True),
        Column("p", "of rho, permuted sequences", detail=True),
    ]
    out = [
        Table(
            columns,
            rows,
            "What is memorized of single sequences, by models that have and have not seen them",
            key="bits are over models of other parts of the pool, which overfit alike: an upper "
            "value of what is stored, beside unintended bits over a reference on more data; "
            f"chance: {PERMUTATIONS} permutations of models",
            name="subsets",
        )
    ]
    influence = found[-1]["influence"]
    if influence is None:
        return out
    pairs = [
        [
            f"{one['seen']:,}",
            f"{one['on']:,}",
            digits(one["bits"]),
            digits(one["se"], 2),
            "yes" if one["surely"] else "no",
        ]
        for one in influence["strongest"]
    ]
    heads = [
        Column("seen", "row of the pool"),
        Column("loss of", "row whose loss falls"),
        Column("bits", "by which it falls"),
        Column("se"),
        Column("beyond chance", f"of all pairs, but for {percent(ALPHA, 0)} of studies", False),
    ]
    title = f"The strongest influences of {found[-1]['model']}, up to {MOST:,} sequences"
    return [*out, Table(heads, pairs, title, name="influence")]
