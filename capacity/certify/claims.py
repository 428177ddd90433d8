"""What a certificate says in numbers: bits, what they are a part of, and what else would hold the
data."""

from __future__ import annotations

import lzma
import math
import zlib
from typing import Any

import numpy as np

from capacity.certify.message import Message

STORED = 32  # bits of a weight in the file: fp32
Claims = dict[str, Any]


def of(  # noqa: PLR0913  data, code, model, and what the run's record says
    message: Message,
    is_set: bool,
    bits: dict[str, float],
    symbols: int,
    code_bytes: int,
    weight_bytes: int,
    parameters: dict[str, int],
    recorded: dict[str, Any] | None,
) -> Claims:
    """All numbers of a certificate, in bits where no unit is said.

    entropy    of the data by the distribution they were drawn from; of a set less log2 of the
               number of its orders (log2 N! where all rows differ, so that names of people are
               log2 C(N0, N) then); of text the reference's code
    ideal      sum of -log2 p of the softmax, of a set less the same
    tables     sum of -log2 of the whole-number tables' probabilities
    file       8 x bytes of the code
    claimed    entropy - file; by parameter convention, and by bit that the weights are stored in
    log2_p     a predictor that does not depend on the data saves k bits or more of them with
               probability 2^-k at most, up to a factor below 1 + 2^-31: so few files of words of
               32 bits are as short (Kraft's inequality: Cover and Thomas, Elements of Information
               Theory, section 5.2)
    parts      of people as a set, of names and of values what of entropy and tables is theirs

    recorded: the bits that the run's record has for the same data, and what they are called.
    """
    known = message.kind != "text"  # else the reference's code is of a set already
    orders = message.order_bits if is_set and known else 0.0
    entropy = message.bits - orders
    claimed = entropy - 8 * code_bytes
    total = parameters["total"]
    out: Claims = {
        "rows": len(message.rows),
        "coded_symbols": symbols,
        "means": message.means,
        "order_bits": orders,
        "entropy_bits": entropy,
        "ideal_bits": bits["ideal"],
        "table_bits": bits["tables"],
        "file_bits": 8 * code_bytes,
        "claimed_bits": claimed,
        "parameters": parameters,
        "bits_per_parameter": {name: claimed / n for name, n in parameters.items() if n},
        "bits_per_stored_bit": claimed / (STORED * total),
        "stored_bits_per_parameter": STORED,
        "log2_p": min(0.0, -claimed),
        "rivals_bytes": rivals(message, is_set, code_bytes, weight_bytes),
        "recorded": None,
        "parts": None,
    }
    if message.kind == "people":
        names = {"entropy_bits": message.name_bits - orders, "table_bits": bits["names"]}
        values = {
            "entropy_bits": entropy - names["entropy_bits"],
            "table_bits": bits["tables"] - bits["names"],
        }
        out["parts"] = {"names": names, "values": values}
    if recorded is not None:
        out["recorded"] = recorded | {"difference": claimed / recorded["bits"] - 1}
    return out


def rivals(message: Message, is_set: bool, code_bytes: int, weight_bytes: int) -> dict[str, int]:
    """Bytes of other ways to keep what is coded: a table of so many bits each as tell the
    symbols apart, the same packed by zlib and by xz at their highest levels; of a set its sorted
    rows, and what a set needs at least. Beside them the code, alone and with the weights."""
    rows = message.rows
    if is_set:
        rows = rows[np.lexsort(rows.T[::-1])]
    parts = message.symbols or ((rows.reshape(-1), message.alphabet),)
    table = message.table
    if table is None:
        table = b"".join(packed(symbols, alphabet) for symbols, alphabet in parts)
    out = {
        "raw": len(table),
        "zlib": len(zlib.compress(table, 9)),
        "xz": len(lzma.compress(table, preset=9 | lzma.PRESET_EXTREME)),
    }
    if is_set and message.kind != "text":
        out["set"] = max(0, math.ceil((message.bits - message.order_bits) / 8))
    return out | {"code": code_bytes, "weights": weight_bytes, "both": code_bytes + weight_bytes}


def packed(symbols: np.ndarray, alphabet: int) -> bytes:
    """Whole numbers below `alphabet` with ceil(log2 alphabet) bits each, the highest bit first."""
    width = max(1, (alphabet - 1).bit_length())
    bits = (symbols[:, None] >> np.arange(width - 1, -1, -1)) & 1
    return np.packbits(bits.astype(np.uint8)).tobytes()
