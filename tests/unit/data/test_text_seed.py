"""data.text_seed: other documents of the same grammar."""

import pytest

from capacity.base.errors import ConfigError
from capacity.config import from_dict
from capacity.data import text
from capacity.settings.data import TextData

TREE = {"kind": "text", "documents": 60, "vocab_size": 256, "seq_len": 8, "n_held_out": 20}


def of(seed, **more):
    return TextData(**(TREE | {"text_seed": seed} | more))


def test_another_seed_writes_other_documents_with_the_same_words():
    first, other = (list(text.documents(of(seed))) for seed in (0, 7))
    assert len(first) == len(other) == 60 and not set(first) & set(other)
    assert other == list(text.documents(of(7)))
    known = {w.strip(".").lower() for d in text.documents(of(0, documents=3000)) for w in d.split()}
    unknown = [w for d in other for w in d.split() if w.strip(".").lower() not in known]
    assert len(unknown) < 0.05 * sum(len(d.split()) for d in other)  # rare names and words


def test_the_neutral_seed_is_the_text_of_before():
    run = {
        "data": TREE | {"n_sequences": 40},
        "model": {"d_model": 8, "n_layers": 1, "n_heads": 2},
        "train": {"steps": 10, "batch_size": 4, "warmup_steps": 1},
    }
    kept = from_dict(run)
    assert "text_seed" not in kept.identity["data"]
    run["data"] = run["data"] | {"text_seed": 7}
    other = from_dict(run)
    assert other.run_id != kept.run_id and other.identity["data"]["text_seed"] == 7
    assert text.pool_digest(kept.data) == text.pool_digest(of(0))
    assert text.pool_digest(other.data) != text.pool_digest(kept.data)


def test_only_a_grammar_has_other_texts_by_a_seed(tmp_path):
    (tmp_path / "a.txt").write_text("some words of a text\n" * 50)
    run = {
        "data": TREE
        | {"source": "files", "path": str(tmp_path / "a.txt"), "text_seed": 1, "n_sequences": 4},
        "model": {"d_model": 8, "n_layers": 1, "n_heads": 2},
        "train": {"steps": 10, "batch_size": 4, "warmup_steps": 1},
    }
    with pytest.raises(ConfigError, match="data.text_seed=1: only a grammar writes another text"):
        from_dict(run)
