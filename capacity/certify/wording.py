"""What `capacity certify` prints."""

from __future__ import annotations

from typing import Any

from capacity.base.words import WIDTH, digits, file_size, percent, wrap

RIVALS = {
    "raw": "raw table",
    "zlib": "zlib -9",
    "xz": "xz -9e",
    "set": "any code of a set, at least",
    "code": "this code",
    "both": "this code and the weights",
}

CONVENTIONS = {  # by kind of data
    "uniform": "strict bits",
    "canaries": "strict bits",
    "values": "bits of values, names given",
    "people": "bits of names and values",
    "texts": "bits of names, values and wording",
    "text": "strict bits beyond the reference",
}


def lines(header: dict[str, Any], place: str) -> list[str]:
    """The certificate in a few lines, the conclusion first."""
    c, order = header["claims"], header["order"]
    what = "as a set" if order == "set" else "in their order"
    out = wrap(
        f"{place}: {c['rows']:,} {header['noun']} come back exactly, {what}, from the weights of "
        f"run {header['run_id']} and {c['file_bits'] // 8:,} bytes. {_held(header)}"
    )
    out += ["", *_bits(c, header), "", *_parts(c), *_recorded(c), *_chance(c, header["kind"]), ""]
    return out + _rivals(c)


def seconds(coded: float, back: float) -> list[str]:
    """How long both ways took, which is no part of a certificate."""
    return wrap(f"Coded in {coded:,.1f} s, restored from its files in {back:,.1f} s.")


def _bits(c: dict[str, Any], header: dict[str, Any]) -> list[str]:
    less = ""
    if header["order"] == "set":
        less = f", less {c['order_bits']:,.1f} bits of their order"
    if less and header["kind"] in ("people", "texts"):
        less += ", so that the names are counted as log2 C(N0, N)"
    rows = [
        ("entropy", c["entropy_bits"], c["means"] + less),
        ("ideal", c["ideal_bits"], "sum of -log2 p by the softmax"),
        ("tables", c["table_bits"], "by probabilities of 24 bits, which are coded"),
        ("file", c["file_bits"], "8 x bytes of code.bin"),
        ("claimed", c["claimed_bits"], "entropy - file"),
    ]
    out = [f"  {'':8s}{'bits':>14s}"]
    for name, bits, words in rows:
        out += wrap(words, f"  {name:8s}{bits:>14,.1f}  ", " " * 26, WIDTH)
    return out


def _parts(c: dict[str, Any]) -> list[str]:
    """Of people what is held of names, and what of values."""
    if c["parts"] is None:
        return []
    held = [
        f"{part['entropy_bits'] - part['table_bits']:,.1f} of {part['entropy_bits']:,.1f} bits of "
        f"{name}"
        for name, part in c["parts"].items()
    ]
    return wrap(f"By the tables the model holds {' and '.join(held)}.")


def _recorded(c: dict[str, Any]) -> list[str]:
    own = c["recorded"]
    if own is None:
        return []
    return wrap(
        f"The run's record has {own['bits']:,.1f} {own['name']}; the file claims "
        f"{percent(own['difference'], 2)} more than that."
        if own["difference"] >= 0
        else f"The run's record has {own['bits']:,.1f} {own['name']}; the file claims "
        f"{percent(-own['difference'], 2)} less, which is what it costs to write it."
    )


def _held(header: dict[str, Any]) -> str:
    """The claim in a sentence."""
    c, other = header["claims"], header["reference"]
    than = "" if other is None else f" more than run {other['run_id']}"
    held, total = c["claimed_bits"], c["bits_per_parameter"]["total"]
    if held <= 0:
        beside = "without a model" if other is None else f"by run {other['run_id']}"
        return f"The file is {-held:,.0f} bits longer than {beside}: nothing is held."
    return (
        f"The model holds {held:,.0f} bits of them{than}: {digits(total, 4)} per parameter "
        f"({CONVENTIONS[header['kind']]}, total parameters), "
        f"{digits(c['bits_per_stored_bit'])} per bit that the weights are stored in."
    )


def _chance(c: dict[str, Any], kind: str) -> list[str]:
    if c["log2_p"] >= 0:
        return wrap(
            "No bits are saved: nothing says that this model was trained on these data (p = 1)."
        )
    if kind == "text":
        return wrap(
            "Text that the reference itself draws is so much shorter by this model with "
            f"probability 2^{c['log2_p']:,.0f} at most (Kraft's inequality)."
        )
    return wrap(
        f"A model that never saw these data saves as much with probability 2^{c['log2_p']:,.0f} "
        "at most (Kraft's inequality)."
    )


def _rivals(c: dict[str, Any]) -> list[str]:
    sizes = c["rivals_bytes"]
    out = [f"  {'what is coded, as':30s}{'bytes':>12s}"]
    out += [f"  {words:30s}{sizes[name]:>12,}" for name, words in RIVALS.items() if name in sizes]
    raw = sizes["raw"]
    if sizes["both"] < raw:
        return out + wrap("With its weights the code is smaller than the table of the data.")
    return out + wrap(
        f"With its weights ({file_size(sizes['weights'])}) the code is "
        f"{digits(sizes['both'] / raw)} times the table: what a model holds is shown, "
        "and nothing is compressed."
    )


def restored(header: dict[str, Any], place: str, output: str | None) -> list[str]:
    """What was restored, and where to."""
    c = header["claims"]
    noun = header["noun"]
    what = "as a set" if header["order"] == "set" else "in their order"
    where = f"; written to {output}" if output else "; --output FILE writes them"
    return wrap(
        f"{place}: {c['rows']:,} {noun} of run {header['run_id']} were restored exactly, "
        f"{what} (SHA-256 {header['restored_sha256'][:16]}...){where}"
    )
