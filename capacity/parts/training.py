"""What parts of a model ask of its training, and training of parts."""

from __future__ import annotations

from capacity.base.errors import ConfigError
from capacity.parts import registry
from capacity.settings.model import Model
from capacity.settings.train import Train


def check(model: Model, train: Train) -> None:
    """ConfigError where training has settings of parts that the model does not have, or parts that
    it would not train."""
    _check_tables(model, train)
    _check_routers(model, train)


def _check_tables(model: Model, train: Train) -> None:
    """What trains tables needs some."""
    if registry.has_tables(model):
        return
    for name, neutral in (("table_lr", 1.0), ("table_clip", None)):
        if getattr(train, name) != neutral:
            raise ConfigError(
                f"train.{name}={getattr(train, name):g}: no part of this model has a table; choose "
                "model.channel=stem, keys or banks or model.memory=engram, or leave it out"
            )


def _check_routers(model: Model, train: Train) -> None:
    """How weights of experts are kept and rounded."""
    if train.qat_only == "experts" and not model.n_experts:
        raise ConfigError(
            "train.qat_only=experts: rounds experts only, but model.n_experts=0; set "
            "model.n_experts, or train.qat_only=all"
        )
    if model.router_shift and train.weights != "fp32":
        raise ConfigError(
            f"model.router_shift={model.router_shift:g}: train.weights={train.weights} would lose "
            "such small moves; set train.weights=fp32 or model.router_shift=0"
        )
