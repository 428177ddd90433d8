"""Whether widths divide into heads (standard library only)."""

from __future__ import annotations

from capacity.base.errors import ConfigError
from capacity.settings.model import Model


def check(model: Model) -> None:
    """Widths divide into heads, and heads of queries into those of keys and values."""
    if model.d_model % model.n_heads:
        raise ConfigError(
            f"model.n_heads={model.n_heads}: must divide model.d_model={model.d_model}; "
            f"allowed: {_divisors(model.d_model)}"
        )
    if model.position == "rotary" and (model.d_model // model.n_heads) % 2:
        raise ConfigError(
            f"model.position=rotary: needs an even head size, but model.d_model/model.n_heads = "
            f"{model.d_model // model.n_heads}"
        )
    if model.n_heads % model.kv_heads:
        raise ConfigError(
            f"model.n_kv_heads={model.n_kv_heads}: must divide model.n_heads={model.n_heads}; "
            f"allowed: {_divisors(model.n_heads)}"
        )


def _divisors(n: int) -> str:
    divisors = [k for k in range(1, min(n, 4096) + 1) if n % k == 0]
    return ", ".join(map(str, divisors[:12])) + (", ..." if len(divisors) > 12 else "")
