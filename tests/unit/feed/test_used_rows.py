"""Rows of the token table that a text cannot use: counted, told, and left out of ratios."""

import json

import numpy as np
import pandas as pd
import pytest

from capacity import records, run_table
from capacity.analysis.text import sizes
from capacity.cli.main import main
from capacity.compose import load
from capacity.feed import split, used_rows

NOUNS = "miller river orchard baker lantern valley sister wagon meadow sailor".split()
VERBS = "finds leaves mends paints sells follows hears wants".split()
SHORT = ["model.d_model=8", "model.n_heads=2", "model.n_layers=1", "train.batch_size=8"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A text of few words, and settings of a run on it with that many rows."""
    folder = tmp_path_factory.mktemp("texts")
    draw = np.random.default_rng(0)
    documents = [
        " ".join(
            f"The {draw.choice(NOUNS)} {draw.choice(VERBS)} the {draw.choice(NOUNS)}."
            for _ in range(12)
        )
        for _ in range(200)
    ]
    path = folder / "t.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))

    def settings(rows, *more):
        return [
            "data=text",
            "data.source=files",
            f"data.path={path}",
            f"data.vocab_size={rows}",
            "data.seq_len=16",
            "data.n_sequences=60",
            "data.n_held_out=20",
            "train.steps=10",
            "train.warmup_steps=1",
            *SHORT,
            *more,
        ]

    return settings


def test_a_large_table_on_a_small_text_is_told_and_counted(texts, tmp_path, capsys):
    """The fault: tokens per parameter were 24 times too small."""
    config = load(texts(4096))
    assert main(["train", *texts(4096), "--results", str(tmp_path)]) == 0
    printed, told = capsys.readouterr()
    record = records.read(tmp_path, config.run_id)
    tokens = np.unique(split.of(config).pool.tokens_NS)
    total = config.parameters["total"]
    used = total - (4096 - len(tokens)) * 8  # tied, d_model 8
    assert record["parameters"]["used"] == used and total / used > 20
    assert (record["data"]["rows"], record["data"]["used_rows"]) == (4096, len(tokens))
    ratios = record["measures"]["text"]["tokens_per_parameter"]
    assert ratios["total"] == pytest.approx(60 * 16 / total)
    assert ratios["used"] == pytest.approx(60 * 16 / used)
    fits = record["data"]["fitting_vocab_size"]
    for words in (told, printed):
        assert f"{total:,}" in words and f"{used:,}" in words
        lines = [line for line in words.splitlines() if not line.endswith("record.json")]
        assert max(map(len, lines)) <= 80
    assert f"data.vocab_size={fits} fits" in " ".join(told.split())
    # what it proposes is accepted without a word, and keeps the ratio
    again = load(texts(fits))
    assert used_rows.warning(again) is None
    assert again.parameters["total"] == pytest.approx(used, rel=0.1)
    row = run_table.table(tmp_path, [config]).iloc[0]
    assert row.tokens_per_parameter == pytest.approx(60 * 16 / total)
    assert row.tokens_per_parameter_used == pytest.approx(60 * 16 / used)
    assert (row.parameters_used, row.used_rows) == (used, len(tokens))


def test_settings_keep_the_total_and_so_do_ids(texts):
    """N of data.tokens_per_parameter is of all parameters, as it was."""
    rows = [s for s in texts(4096) if not s.startswith("data.n_sequences")]
    config = load([*rows, "data.tokens_per_parameter=0.02"])
    assert config.items == round(0.02 * config.parameters["total"] / 16)
    assert set(config.parameters) == {"total", "paper", "non_embedding", "active"}


def test_rows_of_random_canaries_are_in_use(texts):
    few, more = (load(texts(4096, *canaries)) for canaries in ([], ["data.canaries=50"]))
    assert used_rows.used(more) > used_rows.used(few) + 400  # 250 sequences of 16 random tokens


def test_an_untied_head_has_idle_rows_too(texts):
    config = load(texts(4096, "model.tied=false"))
    found = used_rows.counted(config)
    idle = 4096 - found["used_rows"]
    assert found["used"] == config.parameters["total"] - 2 * 8 * idle


def test_people_and_uniform_tokens_have_no_idle_rows():
    for settings in (["data=bios_pocket", "train=pocket_bios"], ["data.n_sequences=20"]):
        config = load([*settings, *SHORT[:3]])
        assert used_rows.counted(config) == {} and used_rows.warning(config) is None
        assert config.resolved.used_rows == config.rows


def test_runs_of_one_text_are_told_once(texts):
    configs = [load(texts(4096, f"seed={seed}")) for seed in (0, 1)]
    assert len(used_rows.warnings([*configs, load(["data.n_sequences=20"])])) == 1


def test_laws_go_by_rows_in_use_where_every_record_says_them():
    table = pd.DataFrame(
        {
            "status": ["finished", "finished", "missing"],
            "tokens_per_parameter": [0.1, 0.2, 0.4],
            "parameters_total": [1000, 1000, 1000],
            "parameters_used": [100.0, 100.0, np.nan],
            "tokens_per_parameter_used": [1.0, 2.0, np.nan],
        }
    )
    found = sizes.counted(table)
    assert found.tokens_per_parameter.tolist() == [1.0, 2.0, 0.4] and not sizes.mixed(table)
    assert sizes.parameters(found).tolist() == [100, 100, 1000]
    old = table.assign(parameters_used=[100.0, np.nan, np.nan])
    assert sizes.mixed(old)
    found = sizes.counted(old)
    assert found.tokens_per_parameter.tolist() == [0.1, 0.2, 0.4]
    assert sizes.parameters(found).tolist() == [1000, 1000, 1000]
    before = table.drop(columns=["parameters_used", "tokens_per_parameter_used"])
    assert sizes.counted(before) is before and not sizes.mixed(before)
