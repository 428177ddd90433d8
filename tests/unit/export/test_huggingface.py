"""Exported models loaded by `transformers`: equal logits and generation for every form, tokens,
refusals, whole folders."""

import json
import os
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch

from capacity.base import files

os.environ["HF_HUB_OFFLINE"] = "1"
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, logging

from capacity import records
from capacity.base.errors import ConfigError
from capacity.cli.main import main
from capacity.compose import load
from capacity.config import from_dict
from capacity.data import compile_lexicon as compiling
from capacity.data import lexicons, text, uniform
from capacity.data.vocabulary import gpt2
from capacity.export import huggingface, tokenizer
from capacity.measure import memorization as bits
from capacity.model.gpt import GPT
from capacity.train import checkpoint
from capacity.train.loop import Stack

logging.disable_progress_bar()
logging.set_verbosity_error()
SEQ = 12
LLAMA = {
    "position": "rotary",
    "norm": "rmsnorm",
    "mlp": "gated",
    "activation": "silu",
    "bias": False,
    "tied": False,
}
VARIANTS = {
    "gpt2": {},
    "gpt2 untied": {"tied": False},
    "gpt2 tanh": {"activation": "gelu_tanh"},
    "gpt2 relu": {"activation": "relu"},
    "gpt2 relu2": {"activation": "relu2"},
    "gpt2 silu": {"activation": "silu"},
    "gpt2 quarter": {"mlp_ratio": 1.0},
    "gpt2 no MLP": {"mlp_ratio": 0.0},
    "gpt2 grouped": {"n_kv_heads": 2},
    "gpt2 no bias": {"bias": False, "norm": "layernorm_no_bias"},
    "rotary": {"position": "rotary"},
    "rotary untied": {"position": "rotary", "tied": False},
    "rotary base": {"position": "rotary", "rotary_base": 500.0},
    "rotary grouped, no bias, no MLP": {
        "position": "rotary",
        "n_kv_heads": 1,
        "bias": False,
        "norm": "layernorm_no_bias",
        "mlp_ratio": 0.0,
    },
    "llama": LLAMA | {"mlp_ratio": 8 / 3, "mlp_multiple_of": 8},
    "llama tied, grouped": LLAMA | {"tied": True, "n_kv_heads": 2, "rotary_base": 77.0},
    "llama gelu, bias": LLAMA | {"activation": "gelu", "bias": True},
    "llama no MLP": LLAMA | {"mlp_ratio": 0.0, "mlp": "standard"},
    "llama no gate": LLAMA | {"mlp": "standard"},
    "llama no gate, bias": LLAMA
    | {"mlp": "standard", "activation": "gelu", "bias": True, "tied": True},
    "mistral": LLAMA | {"mlp_ratio": 3.5, "n_kv_heads": 1},
}
TYPES = {
    "gpt2": "GPT2LMHeadModel",
    "rotary": "GPTNeoXForCausalLM",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
}


def config_of(model, kind="uniform"):
    """A model of two layers and 24 values on uniform tokens (with BOS) or on a stream (without)."""
    data = (
        {"kind": "uniform", "vocab_size": 29, "seq_len": SEQ, "n_sequences": 10}
        if kind == "uniform"
        else {
            "kind": "biod",
            "n_people": 8,
            "seq_len": SEQ,
            "first_names": 4,
            "middle_names": 0,
            "last_names": 3,
            "attributes": 2,
            "diversity": 3,
            "alphabet": 5,
        }
    )
    return from_dict(
        {
            "data": data,
            "model": {"n_layers": 2, "d_model": 24, "n_heads": 4} | model,
            "train": {"steps": 10, "warmup_steps": 1},
        }
    )


def weights_of(config, seed=0):
    """Weights in which nothing is 0 or 1: logits of a few units, so that every tensor counts."""
    gpt = GPT(config.model, config.rows, config.data.seq_len, config.data.bos)
    noise = torch.randn(1, sum(gpt.sizes), generator=torch.Generator().manual_seed(seed))
    return gpt, gpt.init([seed]) + 0.25 * noise


def saved(found, folder):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(
        json.dumps(found.config | {"bos_token_id": found.start, "eos_token_id": None})
    )
    generation = {"suppress_tokens": [found.unknown]} if found.unknown is not None else {}
    (folder / "generation_config.json").write_text(
        json.dumps(generation | {"bos_token_id": found.start})
    )
    save_file(found.tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def loaded(folder, dtype=torch.float32):
    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info  # no tensor is missing, left over or of a wrong shape
    return model.eval().to(dtype)


def theirs(model, config, start, tokens_BT):
    """Logits over the rows of the run for the same targets as `GPT.logits`."""
    seen = (
        torch.cat([torch.full((len(tokens_BT), 1), start), tokens_BT[:, :-1]], 1)
        if config.data.bos
        else tokens_BT[:, :-1]
    )
    with torch.no_grad():
        return model(seen).logits[..., : config.rows]


def greedy(gpt, flat_MP, prompt, length):
    """What the run writes after a prompt: the most likely tokens, one by one."""
    tokens = list(prompt)
    while len(tokens) < length:
        row = torch.tensor([[[*tokens, 0]]])  # the last one is only predicted
        tokens.append(int(gpt.logits(flat_MP, row)[0, 0, -1].argmax()))
    return tokens


@pytest.mark.parametrize("kind", ["uniform", "biod"])
@pytest.mark.parametrize("name", VARIANTS)
def test_logits_and_greedy_generation_are_those_of_the_run(name, kind, tmp_path):
    config = config_of(VARIANTS[name], kind)
    gpt, flat_MP = weights_of(config)
    found = huggingface.convert(config, {key: w[0] for key, w in gpt.named(flat_MP).items()})
    model = loaded(saved(found, tmp_path / "model"))
    assert type(model).__name__ == TYPES[name.split()[0].rstrip(",")]
    tokens = torch.randint(
        0,
        config.rows,
        (16, SEQ + (not config.data.bos)),
        generator=torch.Generator().manual_seed(1),
    )
    ours = gpt.logits(flat_MP, tokens[None])[0]
    largest = (ours - theirs(model, config, found.start, tokens)).abs().max()
    assert (
        largest < 2e-5 * ours.abs().max() and ours.std() > 0.5
    )  # measured: at most 9e-6, 2.2e-6 of the largest logit
    for prompt in tokens[:4, :3].tolist():
        given = [found.start, *prompt] if config.data.bos else prompt
        length = SEQ - len(given)
        told = model.generate(torch.tensor([given]), max_new_tokens=length, do_sample=False)[
            0
        ].tolist()
        assert (
            told[len(given) :] == greedy(gpt, flat_MP, prompt, len(prompt) + length)[len(prompt) :]
        )
    exact = {
        "gpt2",
        "gpt2 untied",
        "rotary",
        "rotary untied",
        "llama",
        "mistral",
        "llama tied, grouped",
        "llama gelu, bias",
    }
    if name in exact:  # no number is stored twice or made up
        unfolded = (
            config.parameters["total"]
            if kind == "biod" or config.model.position == "rotary"
            else config.parameters["paper"]
        )
        assert model.num_parameters() == unfolded + (
            config.model.d_model if found.unknown is not None and not config.model.tied else 0
        )
    assert (found.unknown is not None) == (kind == "uniform" and config.model.position == "rotary")
    assert any("repeated" in note for note in found.notes) == (
        "grouped" in name and "llama" not in name
    )
    assert any("has no gate" in note for note in found.notes) == ("no gate" in name)
    assert any("missing MLP" in note for note in found.notes) == ("no MLP" in name)


def test_differences_are_rounding(tmp_path):
    """In double precision the exported model lies no further from our fp32 logits than its own fp32
    ones do."""
    config = config_of({})
    gpt, flat_MP = weights_of(config)
    found = huggingface.convert(config, {key: w[0] for key, w in gpt.named(flat_MP).items()})
    folder, tokens = (
        saved(found, tmp_path / "model"),
        torch.randint(0, 29, (64, SEQ), generator=torch.Generator().manual_seed(1)),
    )
    exact = theirs(loaded(folder, torch.float64), config, 0, tokens)
    ours, single = gpt.logits(flat_MP, tokens[None])[0], theirs(loaded(folder), config, 0, tokens)
    assert (ours - exact).abs().max() < 3 * (single - exact).abs().max() < 1e-4


@pytest.mark.parametrize(
    "model, words",
    [
        ({"n_experts": 4}, ["model.n_experts=4", "fixed number of places"]),
        (
            {"norm": "rmsnorm"},
            [
                "model.position=learned, model.norm=rmsnorm, model.mlp=standard",
                "no architecture of transformers",
            ],
        ),
        ({"mlp": "gated"}, ["model.mlp=gated", "no architecture"]),
        ({"mlp": "gated", "position": "rotary"}, ["model.mlp=gated"]),
        (
            LLAMA | {"position": "learned"},
            ["model.position=learned", "rotary positions with RMSNorm"],
        ),
    ],
)
def test_what_transformers_does_not_have_is_refused_by_name(model, words):
    with pytest.raises(ConfigError) as error:
        huggingface.check(config_of(model))
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value), str(
        error.value
    )
    with pytest.raises(ConfigError, match="model.document_mask=true: cannot be exported"):
        huggingface.check(config_of({"document_mask": True}, "biod"))


# --- whole runs
# --------------------------------------------------------------------------------------------------

TEXT = [
    "data=text_pocket",
    "data.documents=150",
    "data.vocab_size=200",
    "data.seq_len=16",
    "data.tokens_per_parameter=null",
    "data.n_sequences=30",
    "data.n_held_out=20",
]
RUNS = {
    "uniform": ["data.vocab_size=16", "data.seq_len=8", "data.n_sequences=20", "train.steps=150"],
    "rotary": [
        "data.vocab_size=16",
        "data.seq_len=8",
        "data.n_sequences=20",
        "train.steps=60",
        "model=rotary",
    ],
    "text": [*TEXT, "train.steps=60"],
    "bios": [
        "data=bios_pocket",
        "data.n_people=60",
        "data.seq_len=48",
        "data.tag=main",
        "data.other_people=60",
        "data.other_parts=1",
        "model=gpt2_rotary",
        "train=pocket_bios",
        "train.exposures=3",
    ],
    "biod": [
        "data=biod_pocket",
        "data.n_people=40",
        "data.seq_len=32",
        "model=llama",
        "train=pocket_bios",
        "train.exposures=3",
    ],
}
SMALL = [
    "model.n_layers=2",
    "model.d_model=16",
    "model.n_heads=2",
    "train.batch_size=8",
    "train.warmup_steps=5",
    "cluster.device=cpu",
    "measure.contexts=1",
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Trains and exports runs of these kinds once: kind -> (config, results, folder)."""
    results = tmp_path_factory.mktemp("results")
    done = {}

    def of(kind):
        if kind not in done:
            settings = [*RUNS[kind], *SMALL]
            assert main(["train", *settings, "--results", str(results)]) == 0
            config = load(settings)
            folder = results / "exports" / kind
            assert (
                main(["export", config.run_id, "--output", str(folder), "--results", str(results)])
                == 0
            )
            done[kind] = config, results, folder
        return done[kind]

    return of


def weights(config, results):
    gpt = GPT(config.model, config.rows, config.data.seq_len, config.data.bos)
    return gpt, checkpoint.load_weights(
        records.run_dir(results, config.run_id) / "weights.safetensors", gpt, config.run_id
    )[None]


def test_the_bits_of_a_run_come_out_of_the_exported_model(exported):
    config, results, folder = exported("uniform")
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    tokens = torch.from_numpy(uniform.tokens(config.seed, config.items, 8, 16)).long()
    logits = theirs(loaded(folder), config, 0, tokens)
    assert logits.shape == (20, 8, 16)  # no column that the run does not have
    nll = torch.nn.functional.cross_entropy(
        logits.double().flatten(0, 1), tokens.flatten(), reduction="none"
    ).view(20, 8) / torch.log(torch.tensor(2.0))
    held = bits.memorized(torch.stack([nll[:, 0], nll[:, 1:].sum(1)], 1).numpy(), 8, 16)
    measured = records.read(results, config.run_id)["measures"]["memorization"]
    for convention in ("strict", "paper"):
        assert (
            held[convention] == pytest.approx(measured[convention]["bits"], rel=1e-5)
            and held[convention] > 100
        )


@pytest.mark.parametrize("kind", RUNS)
def test_a_trained_run_generates_as_it_does_here(kind, exported):
    config, results, folder = exported(kind)
    gpt, flat_MP = weights(config, results)
    model, coder = loaded(folder), AutoTokenizer.from_pretrained(folder)
    model.generation_config.eos_token_id = None  # go on behind the end of a text
    start, S = model.config.bos_token_id, config.data.seq_len
    assert coder.model_max_length == S and model.generation_config.bos_token_id == start
    rows = Stack([config], torch.device("cpu")).feed.first_rows(0, 6).tolist()
    for row in rows:
        row = row if config.data.bos else row[row.index(0) + 1 if 0 in row[:8] else 0 :]
        prompt = row[:4]
        words = coder.decode(prompt) if config.data.kind == "uniform" else None
        given = coder(words)["input_ids"] if words else [start, *prompt]
        assert given == [start, *prompt]
        told = model.generate(
            torch.tensor([given]), attention_mask=torch.ones(1, len(given), dtype=torch.int64)
        )[0].tolist()
        ours = (
            greedy(gpt, flat_MP, prompt, S - 1)
            if config.data.bos
            else greedy(gpt, flat_MP, given, S)[1:]
        )
        assert told == [start, *ours]
    if model.generation_config.suppress_tokens:
        assert kind == "rotary" and start == config.rows == model.config.vocab_size - 1
        assert (torch.tensor(told[1:]) < start).all()


def test_text_has_the_tokens_that_the_run_was_trained_on(exported):
    config, _, folder = exported("text")
    coder, encoder = AutoTokenizer.from_pretrained(folder), text.tokenizer(config.data)
    assert (coder.bos_token_id, coder.eos_token_id) == (0, 0) and len(coder) == 200
    stream = []
    for document in islice(text.documents(config.data), 20):
        ids = coder(document)["input_ids"]
        assert ids == [
            0,
            *(i + 1 for i in encoder.tokenizer.encode(document, add_special_tokens=False).ids),
        ]
        assert coder.decode(ids, skip_special_tokens=True) == document
        stream += ids
    assert stream[:16] == text.of(config.data).tokens_NS[0].tolist()  # how the pool was cut


@pytest.mark.parametrize("kind", ["bios", "biod"])
def test_biographies_have_the_tokens_that_the_run_was_trained_on(kind, exported):
    config, _, folder = exported(kind)
    coder, words = (
        AutoTokenizer.from_pretrained(folder),
        [*lexicons.of(config.data).content["tokens"], tokenizer.TAG],
    )
    seen = set()
    for row in Stack([config], torch.device("cpu")).feed.first_rows(0, 40).tolist():
        if 0 in row:
            row = row[row.index(0) :]
            shown = "".join(words[i] for i in row)
            ids = coder(shown, add_special_tokens=False)["input_ids"]
            whole = len(row) - 2  # the last word may be cut
            assert (
                ids[:whole] == row[:whole]
                and coder.decode(row) == shown
                and coder(shown[len(tokenizer.EOS) :])["input_ids"][:whole] == row[:whole]
            )
            seen |= set(row)
    assert len(seen) > config.rows // 3 and (
        config.rows - 1 in seen if kind == "bios" else True
    )  # the tag, and most of the rows
    assert len(coder) == config.rows  # no id is beyond the table
    assert coder("Xqz")["input_ids"] == [0, 0] and coder.unk_token_id == 0


CASES = Path(__file__).parents[2] / "data" / "cases"


def pieces_of(data):
    """Texts of a lexicon piece by piece, and their rows."""
    _, encoder, row = compiling.compiled(data)
    name = {at: encoder.tokenizer.id_to_token(i) for i, at in row.items()}
    for piece in lexicons.of(data).pieces:
        if all(at in name for at in piece):
            yield tokenizer.BYTES.decode([name[at] for at in piece]), piece


@pytest.mark.parametrize(
    "settings",
    [
        ["data=bios_pocket", "data.vocab_size=600"],  # words of several tokens
        ["data=bios_pocket", "data.tokenizer=gpt2"],
        ["data=corpus", "data.seq_len=48", "data.path={}/people_plain.jsonl"],
        ["data=corpus", "data.seq_len=64", "data.path={}/people_plain.jsonl", "data.vocab_size=90"],
        ["data=corpus", "data.seq_len=16", "data.path={}/people_cjk.jsonl"],
        ["data=corpus", "data.seq_len=64", "data.path={}/people_emoji_rtl.jsonl"]
        + ["data.vocab_size=150"],  # tokens of a part of a character
    ],
)
def test_words_have_the_tokens_of_the_lexicon_and_no_others(settings):
    data = load([s.format(CASES) for s in [*settings, "train.steps=300"]]).data
    coder, compared = fast(tokenizer.files(data, 0)), 0
    assert max(coder.get_vocab().values()) == lexicons.of(data).rows - 1
    for words, piece in pieces_of(data):
        if words.startswith(" "):  # as texts do
            assert coder.encode(words).ids == coder.encode(words[1:]).ids == [0, *piece]
            assert coder.decode(piece) == words
            compared += 1
    assert compared > 10
    for strange in ("Xqzz", "\u03a9\u2603", "\u201cM\u00e4r\u201d 7"):
        assert max(coder.encode(strange).ids) < lexicons.of(data).rows
        assert 0 in coder.encode(strange).ids[1:]


def test_people_model_pads_and_takes_any_text(tmp_path):
    """The fault: 232 token ids for 55 rows, and no padding."""
    settings = ["data=corpus", "data.seq_len=48", f"data.path={CASES}/people_plain.jsonl", *SMALL]
    settings += ["train.steps=120", "train.lr=0.01"]
    assert main(["train", *settings, "--results", str(tmp_path)]) == 0
    config, folder = load(settings), tmp_path / "out"
    assert main(["export", config.run_id, "--output", str(folder), "--results", str(tmp_path)]) == 0
    model, coder = loaded(folder), AutoTokenizer.from_pretrained(folder)
    assert len(coder) == config.rows == model.config.vocab_size == 55
    texts = ["Mara Quill was born in Paris.", "Mara Quill was b", "A stranger, 1.75 m tall: \u2603"]
    batch = coder(texts, padding=True, return_tensors="pt")
    assert int(batch["input_ids"].max()) < 55
    with torch.no_grad():
        together = model(**batch).logits
        for i, words in enumerate(texts):
            alone = model(**coder(words, return_tensors="pt")).logits[0]
            # sums of 16 products in another order
            assert torch.allclose(together[i, : len(alone)], alone, atol=1e-5)
    prompt = coder("Mara Quill was", return_tensors="pt")
    told = model.generate(**prompt, max_new_tokens=10, do_sample=False)[0]
    again = coder(coder.decode(told), add_special_tokens=False)["input_ids"]
    assert again == told.tolist()  # what it writes is read back as the same tokens
    assert model.generation_config.pad_token_id == coder.pad_token_id == 0


def test_bytes_that_a_text_lacks_are_the_unknown_token(exported):
    coder = AutoTokenizer.from_pretrained(exported("text")[2])
    known = coder("the end")["input_ids"]
    strange = coder("the\u2603 end")["input_ids"]  # was left out without a word
    assert strange.count(0) == 1 + 3 and [i for i in strange if i] != [] and known[0] == 0
    assert coder.pad_token_id == coder.unk_token_id == 0


def test_gpt2_tokens_keep_their_rows():
    data = load(
        ["data=bios_pocket", "data.tokenizer=gpt2", "data.n_people=60", "train.steps=300"]
    ).data
    coder = fast(tokenizer.files(data, 0))
    row, words = (
        lexicons.of(data).pieces[lexicons.of(data).content["first"][3]],
        lexicons.of(data).content["tokens"],
    )
    shown = "".join(words[i] for i in row)
    assert (
        coder.encode(shown).ids == [0, *row]
        and coder.decode(row) == shown
        and coder.get_vocab_size() == lexicons.of(data).rows
    )
    data = load(
        [
            "data=text_pocket",
            "data.tokenizer=gpt2",
            "data.vocab_size=50258",
            "data.documents=60",
            "data.n_held_out=5",
            "train.steps=300",
            "data.tokens_per_parameter=null",
            "data.n_sequences=5",
        ]
    ).data
    coder, document = fast(tokenizer.files(data, 0)), next(text.documents(data))
    assert coder.encode(document).ids == [
        0,
        *(i + 1 for i in gpt2().tokenizer.encode(document).ids),
    ]
    assert coder.token_to_id(tokenizer.EOS) == 0


def fast(files):
    from tokenizers import Tokenizer

    return Tokenizer.from_str(files["tokenizer.json"])


def test_numbers_are_tokens_and_other_words_an_error(exported):
    coder = AutoTokenizer.from_pretrained(exported("uniform")[2])
    assert coder("3 15  0")["input_ids"] == [0, 3, 15, 0] and coder.decode([3, 15, 0]) == "3 15 0"
    assert coder("3", add_special_tokens=False)["input_ids"] == [3] and coder.bos_token is None
    with pytest.raises(Exception, match="UNK"):
        coder("16")
    extra = AutoTokenizer.from_pretrained(exported("rotary")[2])
    assert (
        extra("3 15")["input_ids"] == [16, 3, 15]
        and extra.bos_token_id == 16
        and extra.decode([16, 3, 15], skip_special_tokens=True) == "3 15"
    )


def test_the_card_says_what_a_reader_must_know(exported):
    for kind, words in (
        (
            "uniform",
            [
                "strict: every token is predicted",
                "arXiv 2505.24832",
                "part of position 0",
                "numbers between spaces",
            ],
        ),
        ("rotary", ["leave it out before a softmax"]),
        ("bios", ["R^max", "arXiv 2404.05405", "each starts with a space"]),
        ("text", ["AUC", "Row 0 is the end of a text"]),
    ):
        config, results, folder = exported(kind)
        card = (folder / "README.md").read_text()
        assert card.startswith("---\nlibrary_name: transformers\n") and str(results) not in card
        for word in (
            config.run_id,
            f"{config.parameters['total']:,} parameters",
            "AutoModelForCausalLM",
            "## Cite",
            *words,
        ):
            assert word in card, (kind, word)
        settings = json.loads(re.search(r"```json\n(.*?)```", card, re.S)[1])
        assert settings == json.loads(json.dumps(config.identity))


@pytest.mark.parametrize("kind", RUNS)
def test_the_lines_of_the_card_run(kind, exported, capsys):
    config, _, folder = exported(kind)
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    capsys.readouterr()
    exec(code.replace('"FOLDER"', repr(str(folder))), {})
    shown = capsys.readouterr().out
    start = (
        "0 0 1 " if kind == "uniform" else "<|bos|> 0 1 " if kind == "rotary" else "<|endoftext|>"
    )
    assert shown.startswith(start) and len(shown) > len(start) + 2


def test_a_bf16_run_says_that_its_master_weights_are_exported(tmp_path, capsys):
    settings = [*RUNS["uniform"], *SMALL, "train.precision=bf16", "train.steps=20"]
    assert main(["train", *settings, "--results", str(tmp_path)]) == 0
    run_id = load(settings).run_id
    assert (
        main(["export", run_id, "--output", str(tmp_path / "out"), "--results", str(tmp_path)]) == 0
    )
    assert (
        "trained and was measured in bf16 arithmetic"
        in (tmp_path / "out" / "README.md").read_text()
    )
    assert capsys.readouterr().out.rstrip().endswith("whose embedding is taken off there.")


def test_a_run_with_quantized_weights_is_exported_as_it_is_used(tmp_path):
    settings = [
        *RUNS["uniform"],
        *SMALL,
        "train.qat=int4",
        "train.qat_embeddings=true",
        "train.steps=40",
    ]
    assert main(["train", *settings, "--results", str(tmp_path)]) == 0
    config = load(settings)
    assert (
        main(
            ["export", config.run_id, "--output", str(tmp_path / "out"), "--results", str(tmp_path)]
        )
        == 0
    )
    gpt, flat_MP = weights(config, tmp_path)
    gpt = GPT(config.model, 16, 8, True, qat="int4", qat_embeddings=True)
    tokens = torch.randint(0, 16, (8, 8), generator=torch.Generator().manual_seed(1))
    ours, there = (
        gpt.logits(flat_MP, tokens[None])[0],
        theirs(loaded(tmp_path / "out"), config, 0, tokens),
    )
    assert (ours - there).abs().max() < 2e-5 * ours.abs().max()
    plain = GPT(config.model, 16, 8, True).logits(flat_MP, tokens[None])[0]
    assert (ours - plain).abs().max() > 1e-2  # the weights file alone is another model
    assert "rounds them to (int4)" in (tmp_path / "out" / "README.md").read_text()


def refused(capsys, *args):
    assert main(["export", *map(str, args)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_bad_input_is_one_line_and_leaves_nothing(exported, tmp_path, capsys, monkeypatch):
    config, results, folder = exported("uniform")
    at = ["--results", results]
    capsys.readouterr()
    assert "0123456789ab: no finished run in" in refused(
        capsys, "0123456789ab", "--output", tmp_path / "a", *at
    )
    assert "name a new or an empty folder" in refused(
        capsys, config.run_id, "--output", folder, *at
    )
    (tmp_path / "file").write_text("x")
    assert "name a new or an empty folder" in refused(
        capsys, config.run_id, "--output", tmp_path / "file", *at
    )
    (tmp_path / "empty").mkdir()
    assert (
        main(
            [
                "export",
                config.run_id,
                "--output",
                str(tmp_path / "empty"),
                "--results",
                str(results),
            ]
        )
        == 0
    )
    monkeypatch.setattr(
        huggingface.card,
        "card",
        lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device", "x")),
    )
    assert "No space left" in refused(capsys, config.run_id, "--output", tmp_path / "b", *at)
    monkeypatch.undo()
    weights = records.run_dir(results, config.run_id) / "weights.safetensors"
    weights.rename(tmp_path / "moved")
    try:
        assert "the run has no final weights" in refused(
            capsys, config.run_id, "--output", tmp_path / "b", *at
        )
    finally:
        (tmp_path / "moved").rename(weights)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file"]


def test_a_write_that_breaks_leaves_no_folder(exported, tmp_path, monkeypatch):
    config, results, _ = exported("uniform")
    whole, calls = files.write_atomic, []

    def broken(path, data):
        calls.append(path)
        if len(calls) == 3:
            raise OSError(28, "No space left on device", str(path))
        whole(path, data)

    monkeypatch.setattr(files, "write_atomic", broken)
    with pytest.raises(OSError, match="No space"):
        huggingface.export(results, config.run_id, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_source_that_is_gone_or_changed_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "tales.txt"
    file.write_text(
        "\n\n".join(
            f"The {n} of {m} told a long and winding story about number {n * m}."
            for n in range(40)
            for m in range(3)
        )
    )
    settings = [
        "data=text",
        "data.source=files",
        "data.path=tales.txt",
        "data.documents=null",
        *TEXT[2:],
        "train.steps=20",
        *SMALL,
    ]
    assert main(["train", *settings]) == 0
    run_id = load(settings).run_id
    out = tmp_path / "out"
    file.write_text(file.read_text().replace("winding", "straight"))
    text._POOLS.clear()
    capsys.readouterr()
    assert "has changed since the run" in refused(capsys, run_id, "--output", out)
    file.unlink()
    assert (
        "data.path=tales.txt: no such file" in refused(capsys, run_id, "--output", out)
        and not out.exists()
    )


def test_the_export_needs_no_transformers():
    code = (
        "import sys; import capacity.export.huggingface; assert not {'transformers', 'hydra', "
        "'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
