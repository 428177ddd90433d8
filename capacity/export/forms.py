"""Which architecture of `transformers` computes what a run does, if any (standard library only)."""

from __future__ import annotations

from capacity import naming
from capacity.base.errors import ConfigError
from capacity.config import Config
from capacity.settings.data import MixedData
from capacity.settings.fresh import FreshData

FORMS = {
    "gpt2": "learned positions with LayerNorm and a standard MLP",
    "gpt_neox": "rotary positions with LayerNorm and a standard MLP",
    "llama": "rotary positions with RMSNorm",
}


def check(config: Config) -> str:
    """The model type that computes what the run does; ConfigError names the setting where there is
    none."""
    model = config.model
    if isinstance(config.data, FreshData):
        raise ConfigError(
            f"data.kind={config.data.kind}: cannot be exported: such a run has no texts that a "
            "tokenizer could write"
        )
    if isinstance(config.data, MixedData):
        raise ConfigError(
            "data.kind=mixed: cannot be exported: random rows and their marker are no text that a "
            "tokenizer could write"
        )
    if model.position == "none":
        raise ConfigError(
            "model.position=none: cannot be exported: no architecture of transformers that this "
            f"package writes does without; it has {'; '.join(FORMS.values())}"
        )
    if model.n_experts:
        raise ConfigError(
            f"model.n_experts={model.n_experts}: cannot be exported: in transformers no expert has "
            f"a fixed number of places"
        )
    for name, plain in naming.PLAIN.items():
        if name != "map_rank" and (value := getattr(model, name)) != plain:
            raise ConfigError(
                f"model.{name}={value}: cannot be exported: no architecture of transformers that "
                f"this package writes has it; it has {'; '.join(FORMS.values())}"
            )
    if model.document_mask:
        raise ConfigError(
            "model.document_mask=true: cannot be exported: in transformers a text sees the "
            "documents before it"
        )
    if model.norm != "rmsnorm" and (model.mlp == "standard" or not model.mlp_width):
        return "gpt2" if model.position == "learned" else "gpt_neox"
    if model.norm == "rmsnorm" and model.position == "rotary":
        return "llama"
    raise ConfigError(
        f"model.position={model.position}, model.norm={model.norm}, model.mlp={model.mlp}: cannot "
        f"be exported: no "
        f"architecture of transformers has the three together; it has {'; '.join(FORMS.values())}"
    )
