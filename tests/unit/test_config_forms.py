"""A config as dictionary, JSON and YAML, and the numbers that follow from it."""

import json
import math

from capacity import compose
from capacity.compose import to_yaml
from capacity.config import from_dict
from settings_trees import tree


def test_round_trip_through_dictionary_json_and_yaml(tmp_path):
    config = from_dict(
        tree(
            data__n_sequences=None,
            data__load=3.3,
            train__steps=None,
            train__exposures=50,
            wandb__entity="x",
        )
    )
    assert from_dict(config.as_dict()) == config
    assert from_dict(json.loads(json.dumps(config.as_dict()))) == config
    (tmp_path / "c.yaml").write_text(to_yaml(config))
    assert from_dict(compose.read_yaml(tmp_path / "c.yaml")) == config


def test_derived_numbers():
    config = from_dict(
        tree(data__n_sequences=None, data__load=4.0, train__steps=None, train__exposures=50)
    )
    bits_per_sequence = 8 * math.log2(16)
    assert abs(config.entropy_bits - 4.0 * config.parameters["total"]) <= bits_per_sequence / 2
    assert config.steps * 8 >= 50 * config.items > (config.steps - 1) * 8
    assert config.tokens == config.steps * 8 * 8
    assert from_dict(tree(data__n_sequences=None, data__load=1e-9)).items == 1
