"""What other programs call our settings, so that a person who writes their names is told ours
(standard library only)."""

from __future__ import annotations

from capacity.base.errors import closest

# names of transformers, nanoGPT, PyTorch Lightning, fairseq, JAX examples and SLURM; without group
_OTHERS = {
    "seed": "random_seed rng_seed manual_seed",
    "train.lr": "learning_rate lrate peak_lr max_lr",
    "train.final_lr_fraction": "min_lr min_lr_ratio lr_min end_lr",
    "train.weight_decay": "wd decay l2",
    "train.batch_size": "bs bsz batch train_batch_size per_device_train_batch_size",
    "train.steps": "max_steps num_steps n_steps iters max_iters num_train_steps train_steps",
    "train.exposures": "epochs epoch num_epochs n_epochs max_epochs num_train_epochs",
    "train.warmup_steps": "warmup warm_up warmup_iters num_warmup_steps warmup_updates",
    "train.grad_clip": "clip clip_norm max_grad_norm gradient_clip gradient_clip_val grad_norm",
    "train.beta1": "adam_beta1 b1",
    "train.beta2": "adam_beta2 b2",
    "train.eps": "adam_epsilon adam_eps epsilon",
    "train.optimizer": "optim opt",
    "train.precision": "dtype amp mixed_precision",
    "model.n_layers": "layers n_layer num_layers num_hidden_layers depth blocks n_blocks",
    "model.d_model": "hidden hidden_size hidden_dim width dim n_embd n_embed embed_dim "
    "embedding_dim model_dim",
    "model.n_heads": "heads n_head num_heads num_attention_heads attention_heads",
    "model.n_kv_heads": "kv_heads num_key_value_heads n_query_groups",
    "model.mlp_ratio": "mlp_width d_ff ff_dim ffn_dim intermediate_size ff_mult n_inner",
    "model.activation": "act act_fn hidden_act activation_function nonlinearity",
    "model.position": "pos_emb pos_embedding positional_encoding position_embedding "
    "position_embedding_type",
    "model.rotary_base": "rope_theta rotary_theta rope_base",
    "model.tied": "tie tie_embeddings tie_weights tie_word_embeddings weight_tying tied_embeddings",
    "model.n_experts": "experts num_experts num_local_experts moe",
    "model.init_std": "initializer_range init_scale",
    "data.seq_len": "context_length context_len ctx n_ctx block_size max_length max_len "
    "max_seq_len sequence_length seq_length seqlen n_positions max_position_embeddings window",
    "data.vocab_size": "vocab n_vocab vocabulary_size",
    "data.n_sequences": "n samples n_samples num_samples num_sequences dataset_size",
    "data.n_people": "persons num_people n_persons",
    "data.n_held_out": "held_out holdout n_holdout test_size n_test",
    "data.path": "dataset data_path data_file data_files data_dir file files train_file corpus",
    "measure.evaluations": "eval eval_interval eval_steps n_evals",
    "cluster.device": "gpu cuda accelerator",
    "cluster.workers": "num_workers n_workers jobs n_jobs processes",
    "cluster.threads": "num_threads n_threads",
    "cluster.cpus": "cpus_per_task",
    "cluster.time": "walltime time_limit timelimit",
    "wandb.project": "wandb_project",
}
ALIASES = {name: key for key, names in _OTHERS.items() for name in names.split()}


def meant(key: str, known: list[str]) -> str | None:
    """The setting among `known` that a person means by `key`: by another program's name for it,
    with a group or without, else the closest name; None where nothing is near."""
    if key in known:
        return key
    name = key.rpartition(".")[2].lower().replace("-", "_")
    ours = [k for k in known if k.rpartition(".")[2] == name]
    alias = ALIASES.get(name)
    return alias if alias in known and not ours else closest(key, known)


def near_setting(key: str, known: list[str]) -> str:
    """' (did you mean X?)' for the setting that is meant, or an empty string."""
    near = meant(key, known)
    return "" if near is None else f" (did you mean {near}?)"


def without_dashes(text: str, known: list[str]) -> str:
    """' (a setting has no dashes: ...)' for an option such as `--lr 0.1` or `--lr=0.1` where a
    setting belongs, or an empty string."""
    name, _, value = text.replace("=", " ", 1).lstrip("-").partition(" ")
    key = meant(name.replace("-", "_"), known) if text.startswith("-") else None
    return "" if key is None else f" (a setting has no dashes: {key}={value.strip() or '...'})"
