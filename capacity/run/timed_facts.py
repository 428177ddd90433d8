"""What the probes of a training say of new facts that it was shown at set steps, for the record:
local acquisition maxima, and what is left at growing lags (`fitting.acquisition`)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from capacity import records
from capacity.config import Config
from capacity.data import timed_facts
from capacity.fitting import acquisition
from capacity.settings.data import text_data

PLACES = 4  # decimals of nats in a record


def of_run(config: Config, results: Path) -> list[dict[str, Any]]:
    """A part per arm and kind of probe, from the run's log."""
    kinds = timed_facts.kinds(text_data(config.data))
    name = "fact_nats_{}".format
    lines = [
        line for line in records.read_metrics(results, config.run_id) if name(kinds[0]) in line
    ]
    step = np.array([line["step"] for line in lines], np.int64)
    nats = {kind: np.array([line[name(kind)] for line in lines], float) for kind in kinds}
    return parts(config, step, nats)


def parts(config: Config, step: np.ndarray, nats: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """The same of probes at hand. step: int64 [K], rising; nats: by kind [K, facts]."""
    data, n = text_data(config.data), text_data(config.data).facts
    shown = timed_facts.steps_of_views(data, config.steps)
    most = config.steps - timed_facts.last_step(data, config.steps) - timed_facts.WINDOW
    lags = acquisition.lags_up_to(most)
    out = []
    for a, arm in enumerate(timed_facts.ARMS):
        for kind, table in nats.items():
            never = table[:, -n:].mean(1)
            rows = []
            for j in range(a * n, (a + 1) * n):
                seen = np.array(shown[j], np.int64)
                one = acquisition.views(step, -table[:, j], seen, timed_facts.WINDOW)
                lam = int(one.lam[-1])
                rows.append(
                    {
                        "before": -one.before,
                        "best": -one.best,
                        "lam": one.lam,
                        "later": acquisition.after(step, table[:, j], lam, lags),
                        "never_before": np.interp(seen[0], step, never),
                        "never_later": acquisition.after(step, never, lam, np.append(0, lags)),
                    }
                )
            part = {key: np.array([row[key] for row in rows]) for key in rows[0]}
            out.append(
                {"part": len(out) + 1, "arm": arm, "kind": kind, "facts": n}
                | {"window": timed_facts.WINDOW, "step": step.tolist(), "lags": lags.tolist()}
                | {"nats": _plain(table[:, a * n : (a + 1) * n].mean(1))}
                | {key: _plain(values) for key, values in part.items()}
                | means(part)
            )
    return out


def means(part: dict[str, np.ndarray]) -> dict[str, float | None]:
    """Bits of a part, over its facts. part: before, best [n, views], later [n, L], never_before
    [n], never_later [n, 1 + L], nats."""
    first, last = part["before"][:, 0], part["best"][:, -1]
    others = part["never_before"], part["never_later"]
    above = acquisition.held(first, last, part["later"], *others) / math.log(2)
    return {
        "effectivity": float((part["before"] - part["best"]).mean()) / math.log(2),
        "gained": float(above[:, 0].mean()),
        "held": float(above[:, -1].mean()) if above.shape[1] > 1 else None,
    }


def _plain(values: np.ndarray) -> list:
    return np.round(values, PLACES).tolist() if values.dtype.kind == "f" else values.tolist()
