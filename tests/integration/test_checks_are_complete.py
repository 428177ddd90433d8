"""Settings that pass the checks train and are measured: a seeded search over small settings of
every kind takes each that is accepted through its steps and all its measures. What ends otherwise
than finished is a check that is missing in the configuration."""

import json
import random
from pathlib import Path

import pytest
import torch

from capacity import records
from capacity.base.errors import ConfigError
from capacity.compose import load
from capacity.run.job import Job
from capacity.run.run import execute

YES_NO = ["true", "false"]
ORDERS = ["permute", "fixed", "pairs"]
SPACE = {  # section -> setting -> values, as they are typed
    "uniform": {"vocab_size": [2, 3, 16], "seq_len": [2, 3, 130], "n_sequences": [1, 2, 40]},
    "bios_pocket": {
        "n_people": [64, 128],
        "seq_len": [16, 24, 32, 48, 64],
        "vocabulary": ["pools", "world"],
        "questions": YES_NO,
        "middle_names": [0, 1, 3],
        "last_names": [30, 100],
        "years": [0, 1, 10],
        "cities": [0, 1, 5],
        "universities": [0, 1, 3],
        "majors": [0, 1, 4],
        "employers": [0, 1, 3],
        "templates": [1, 2, "null"],
        "full_names": YES_NO,
        "biographies": ["null", 1, 2, 5],
        "order": ORDERS,
        "same_sentences": YES_NO,
        "other_people": [0, 50],
        "other_parts": [0, 1, 7],
        "other_biographies": ["null", 1, 2],
        "other_order": ORDERS,
        "windows": ["pure", "mixed"],
        "tag": ["none", "main", "other"],
        "value_zipf": [0.0, 0.0, 1.0],
        "trained_on": ["members", "half"],
        "split_seed": [0, 0, 1],
        "vocab_size": ["null", 300, 400],
    },
    "mixed": {
        "n_people": [0, 64, 128],
        "n_rows": [0, 5, 64, 200],
        "seq_len": [16, 24, 48, 64],
        "row_len": [2, 7, 16, 40],
        "row_vocab": ["null", 2, 100, 999],
        "row_rate": [1, 1, 3],
        "person_rate": [1, 1, 4],
        "vocabulary": ["pools", "world"],
        "biographies": ["null", 1, 2],
        "order": ORDERS,
        "templates": [1, 2, "null"],
        "other_people": [0, 0, 50],
        "tag": ["none", "none", "main"],
        "value_zipf": [0.0, 0.0, 0.0, 1.0],
        "questions": [*YES_NO, "false"],
    },
    "biod_pocket": {
        "seq_len": [8, 16, 32],
        "middle_names": [0, 1, 2],
        "attributes": [1, 2, 3],
        "chunks": [1, 2],
        "diversity": [1, 2, 9],
        "length": [1, 2, 3],
        "alphabet": [2, 3, 10],
        "separator": ["comma", "none"],
        "order": ["permute", "permute", "fixed"],
        "wording": ["sentences", "sentences", "attributes", "values"],
        "rows": ["null", "null", 40, 200],
    },
    "corpus": {
        "n_people": ["null", 6, 12],
        "seq_len": [8, 12, 16, 32],
        "n_names": ["null", 12, 100],
        "vocab_size": ["null", 300],
    },
    "text_pocket": {
        "vocab_size": [256, 300],
        "seq_len": [2, 3, 8, 33],
        "n_sequences": [2, 5, 20],
        "n_held_out": [2, 3, 50],
        "n_reference": ["null", 1, 5, 30],
        "trained_on": ["members", "reference", "others", "half"],
        "canaries": [0, 1, 3],
        "repeats": ["[]", "[0]", "[0,1,4]", "[5]"],
        "canary_text": ["random", "pool"],
        "last_view": ["null", 0.5, 0.9],
        "view_spacing": [1, 2],
        "view_windows": ["[]", "[]", "[]", "[0-0.5]", "[2s-9s/2]", "[0.9-1.5]"],
        "canary_lengths": ["[]", "[]", "[2,3]"],
        "canary_noise": ["[]", "[]", "[0,0.5]"],
        "copy_noise": ["[]", "[]", "[0.5]"],
        "facts": [0, 0, 1, 200],
        "fact_views": [2, 10],
        "fact_wordings": [2, 12],
        "held_out_wordings": [1, 2],
        "known_facts": [0, 0, 1],
    },
    "model": {
        "n_layers": [1, 2],
        "d_model": [1, 2, 6, 8],
        "n_heads": [1, 2, 3],
        "mlp_ratio": [0, 0.5, 4],
        "position": ["learned", "rotary"],
        "tied": YES_NO,
        "n_kv_heads": ["null", 1],
        "norm": ["layernorm", "rmsnorm"],
        "mlp": ["standard", "gated"],
        "mlp_multiple_of": [1, 3],
        "document_mask": YES_NO,
        "n_experts": [0, 2, 3],
        "top_k": [1, 2],
        "capacity_factor": [0.1, 2.0],
        "n_shared": [0, 1],
        "expert_rounds": [1, 2],
        "router_score": ["softmax", "sigmoid"],
        "router_shift": [0, 0.01],
        "mixer": ["attention", "linear", "gla", "delta", "titans", "lstm"],
        "mixer_key": ["null", 3],
        "mixer_conv": YES_NO,
        "mixer_decay": YES_NO,
        "channel": ["mlp", "stem", "keys", "banks"],
        "banks_units": ["[1]", "[3,2]"],
        "banks_prefix": [1, 2, 20],
        "banks_of": ["sequence", "document"],
        "keys_side": [2, 5],
        "keys_choices": [1, 4],
        "keys_width": [2, 6],
        "keys_gate": YES_NO,
        "keys_expert": YES_NO,
        "keys_shared": YES_NO,
        "loops": [1, 2],
        "map_rank": ["null", "null", 1, 2],
        "channel_layers": ["[]", "[0]", "[1]"],
        "memory": ["none", "engram"],
        "memory_layers": ["[]", "[0]"],
        "engram_rows": [2, 16],
        "engram_longest": [2, 9],
        "engram_width": [1, 4],
        "engram_conv": YES_NO,
        "canon": ["''", "A", "BD", "ABCD"],
    },
    "train": {
        "steps": [1, 3, 20],
        "batch_size": [1, 2, 8],
        "warmup_steps": [0, 1],
        "precision": ["fp32", "bf16", "fp16"],
        "qat": ["none", "none", "int8", "ternary"],
        "optimizer": ["adamw", "muon"],
        "table_lr": [1, 3],
        "table_clip": ["null", 0.1],
    },
    "measure": {
        "evaluations": [1, 3],
        "batch_tokens": [1, 7, 65536],
        "people": ["null", 2, 100],
        "contexts": [1, 2, 7],
        "context": ["auto", "first", "text"],
    },
    "extraction": {"mode": ["none", "full", "lora"], "rank_embedding": [1, 3]},
    "quantize": {
        "methods": ["[]", "[bf16]", "[rtn]", "[gptq,rtn]"],
        "granularity": ["[row]", "[tensor]", "[group,row]"],
        "group_size": ["[1]", "[2]", "[3]"],
        "embeddings": ["[true]", "[false,true]"],
        "calibration": [1, 500],
    },
    "cluster": {"micro_batches": ["null", 1, 2], "ranks": ["null", 1]},
}
SMALL = ["model.d_model=4", "model.n_heads=2", "train.steps=2", "train.warmup_steps=0"]
SMALL += [
    "train.batch_size=4",
    "measure.evaluations=1",
    "extraction.steps=1",
    "quantize.bits=[8,3]",
]
SIZES = {
    "uniform": ["data.n_sequences=5"],
    "bios_pocket": ["data.n_people=64", "measure.held_out_people=3"],
    "mixed": ["data.n_people=64", "data.n_rows=64", "data.load=null"],
    "biod_pocket": ["data.n_people=30", "data.load=null", "measure.held_out_people=3"],
    "corpus": ["data.path=people.jsonl"],
    "text_pocket": [
        "data.tokens_per_parameter=null",
        "data.n_sequences=5",
        "data.n_held_out=4",
        "data.documents=200",
    ],
}
KINDS = [name for name in SPACE if name in SIZES]


def drawn(dice, kind):
    """Overrides of one run: small, with some settings drawn."""

    def some(section, part):
        name = "data" if section in SIZES else section
        return [
            f"{name}.{key}={dice.choice(values)}"
            for key, values in SPACE[section].items()
            if dice.random() < part or key == "seq_len"  # what most must fit into
        ]

    rest = [text for section in SPACE if section not in SIZES for text in some(section, 0.15)]
    return [f"data={kind}", *SIZES[kind], *SMALL, *some(kind, 0.25), *rest]


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_checks_accept_is_trained_and_measured(here, kind):
    lines = []
    for n in range(12):
        name, city = f"Ann {'Quist' * (n % 3)} {n}".replace("  ", " "), f"Ci{n % 5}ty"
        texts = [f"{name} lives in {city} and works as J{n}.", f"In {city} works J{n}, {name}."]
        person = {"person": name, "attributes": {"city": city, "job": f"J{n}"}}
        lines.append(json.dumps(person | {"texts": texts[: 1 + n % 2]}) + "\n")
    Path("people.jsonl").write_text("".join(lines))
    dice, finished, refused = random.Random(kind), 0, 0
    while finished < 4 and finished + refused < 600:
        overrides = drawn(dice, kind)
        try:
            config = load(overrides)
        except ConfigError:
            refused += 1
            continue
        job = Job(here / "results", torch.device("cpu"))
        try:
            outcome = execute([config], job)[config.run_id]
        except ConfigError:  # of texts, whose windows are counted when they have been read
            assert kind == "text_pocket", overrides
            refused += 1
            continue
        error = (records.read(here / "results", config.run_id) or {}).get("error")
        assert outcome == "finished", (overrides, error)
        finished += 1
    assert finished == 4, f"{refused} of {finished + refused} refused"
