"""What one model holds of random rows and of people: each number is the one of the pure kind, and a
mixture of one family is that family alone."""

import math

import numpy as np
import pytest
import torch

from capacity import compose, records
from capacity.base.errors import ConfigError
from capacity.certify import data as certificates
from capacity.data import uniform
from capacity.export import forms
from capacity.measure import memorization, mixture
from capacity.run.job import Job
from capacity.run.remeasure import remeasure
from capacity.run.run import execute
from capacity.train import checkpoint
from capacity.train.loop import Stack

CPU = torch.device("cpu")
SMALL = {"cities": 4, "universities": 4, "majors": 4, "employers": 4, "templates": 2, "years": 2}
SMALL |= {"first_names": 6, "middle_names": 3, "last_names": 10}
RUN = [
    *(f"data.{name}={size}" for name, size in SMALL.items()),
    "data.vocabulary=world",
    "data.seq_len=64",
    "model=pocket",
    "model.d_model=16",
    "model.n_heads=2",
    "model.n_layers=1",
    "train=pocket_bios",
    "train.exposures=60",
    "train.batch_size=8",
    "train.warmup_steps=10",
    "measure.evaluations=2",
    "cluster.device=cpu",
]
MIXED = ["data=mixed", "data.load=null", "data.row_len=12"]


def config(*more, base=MIXED):
    return compose.load([*base, *RUN, *more])


def trained(folder, *configs):
    """Records of runs that train as one stack."""
    job = Job(folder, CPU)
    assert set(execute(list(configs), job).values()) == {"finished"}
    return [records.read(folder, one.run_id) for one in configs]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("both")
    one = config("data.n_people=40", "data.n_rows=60")
    return folder, one, trained(folder, one)[0]


def weights(folder, one):
    stack = Stack([one], CPU)
    path = Job(folder, CPU).weights(one)
    return stack, checkpoint.load_weights(path, stack.gpt, one.run_id)


def test_rows_hold_what_a_slow_code_of_them_says(both):
    folder, one, record = both
    stack, flat_P = weights(folder, one)
    world = stack.feed.members[0].world
    drawn, shown = mixture.tables(world, 60)
    assert shown.shape == (60, 13) and (shown[:, 0] == one.rows - 1).all()
    assert torch.equal(shown[:, 1:], drawn + 1)
    code = 0.0
    for row in shown:
        with torch.no_grad():
            logits = stack.gpt.logits(flat_P[None], row[None, None], torch.float32)[0, 0]
        log_p = logits.double().log_softmax(-1)
        code -= sum(float(log_p[i, row[i + 1]]) for i in range(12)) / math.log(2)
    entropy = 60 * 12 * math.log2(one.rows - 2)  # all ids but EOS and the marker
    found = record["measures"]["mixture"]["random"]
    # sums of 720 numbers in fp32 logits
    assert found["bits"] == pytest.approx(entropy - code, rel=1e-4, abs=0.05)
    assert found["asked_bits"] == pytest.approx(entropy)
    assert found["bits"] == record["measures"]["memorization"]["strict"]["bits"]


def test_both_parts_are_measures_of_their_own_and_add_up(both):
    _, one, record = both
    found, known = record["measures"]["mixture"], record["measures"]["knowledge"]
    assert found["facts"]["bits"] == known["bits"]
    assert found["facts"]["ceiling_bits"] == pytest.approx(known["ceiling_bits"])
    assert found["facts"]["asked_bits"] == known["ceiling_bits"]
    assert found["bits"] == pytest.approx(found["facts"]["bits"] + found["random"]["bits"])
    total = one.parameters["total"]
    assert found["random"]["bits_per_parameter"] == found["random"]["bits"] / total
    asked = found["random"]["asked_bits"] + found["facts"]["asked_bits"]
    assert record["data"]["entropy_bits"] == pytest.approx(asked)
    for family in ("random", "facts"):
        assert found[family]["exposures_mean"] == pytest.approx(60, abs=1)
        most, least = (found[family][f"exposures_{w}"] for w in ("max", "min"))
        assert most - least <= 1
    assert found["facts"]["bits"] > 0 and found["random"]["bits"] > 0


def test_a_mixture_of_people_alone_is_a_run_of_people(tmp_path):
    alone = config("data.n_people=40", "data.n_rows=0")
    bios = config("data.n_people=40", base=["data=bios_pocket", "data.load=null"])
    (mine,), (its,) = trained(tmp_path / "a", alone), trained(tmp_path / "b", bios)
    assert mine["measures"]["knowledge"] == its["measures"]["knowledge"]
    assert mine["parameters"] == its["parameters"]
    assert mine["measures"]["mixture"]["bits"] == its["measures"]["knowledge"]["bits"]
    assert mine["measures"]["mixture"]["random"]["bits"] is None
    assert "memorization" not in mine["measures"]
    a, b = (
        weights(folder, one)[1] for folder, one in ((tmp_path / "a", alone), (tmp_path / "b", bios))
    )
    assert torch.equal(a, b)


def test_a_mixture_of_rows_alone_has_the_measure_of_random_data(tmp_path):
    one = config("data.n_people=0", "data.n_rows=60")
    (record,) = trained(tmp_path, one)
    found = record["measures"]["mixture"]
    assert found["facts"]["bits"] is None and "knowledge" not in record["measures"]
    stack, flat_P = weights(tmp_path, one)
    drawn, shown = mixture.tables(stack.feed.members[0].world, 60)
    bits_N2 = memorization.code_lengths(stack.gpt, flat_P, shown, torch.float32, 65536)
    pure = memorization.of_codes(bits_N2, drawn.numpy(), one.rows - 2, one.parameters)
    assert record["measures"]["memorization"] == pure
    assert found["bits"] == pure["strict"]["bits"] and record["data"]["n_items"] == 60


def test_code_lengths_are_counted_as_those_of_uniform_data_are(both):
    """The same code lengths of the same table give the same numbers whichever kind asks."""
    table = uniform.tokens(3, 50, 12, 30)
    rng = np.random.default_rng(0)
    bits_N2 = np.stack([5 * rng.random(50), 40 * rng.random(50)], 1)

    class Codes:
        vocab_size = 30

        @staticmethod
        def nll(flat, tokens, dtype):
            out = torch.zeros(tokens.shape)
            start = Codes.place
            Codes.place += tokens.shape[1]
            some = torch.from_numpy(bits_N2[start : Codes.place]) * math.log(2)
            out[0, :, 0], out[0, :, 1] = some[:, 0], some[:, 1]
            return out

        place = 0

    parameters = {"total": 100, "paper": 90}
    tokens = torch.from_numpy(table)
    whole = memorization.measure(Codes, torch.zeros(1), tokens, torch.float32, 64, parameters)
    parts = memorization.of_codes(bits_N2, table, 30, parameters)
    for name in ("strict", "paper"):
        assert whole[name]["bits"] == pytest.approx(parts[name]["bits"], rel=1e-6)
        assert whole[name]["ceiling_bits"] == parts[name]["ceiling_bits"]


def test_members_of_a_stack_and_measures_taken_again_say_the_same(tmp_path, both):
    _, one, record = both
    other = config("data.n_people=40", "data.n_rows=60", "seed=1")
    mine, _ = trained(tmp_path, one, other)
    for name in ("mixture", "memorization", "knowledge"):
        assert mine["measures"][name].keys() == record["measures"][name].keys()
    # a stack adds up in another order than a run alone
    a, b = (r["measures"]["mixture"]["bits"] for r in (mine, record))
    assert a == pytest.approx(b, rel=0.02)
    again = remeasure(tmp_path, one.run_id, CPU, None)
    assert again["measures"]["mixture"] == mine["measures"]["mixture"]


def test_an_interrupted_run_is_the_same(tmp_path, both):
    folder, one, record = both
    calls = {"n": 0}

    def stop():
        calls["n"] += 1
        return calls["n"] > 3

    outcome = execute([one], Job(tmp_path, CPU, stop=stop))
    assert outcome == {one.run_id: "interrupted"}
    (mine,) = trained(tmp_path, one)
    assert mine["measures"] == record["measures"]
    assert torch.equal(weights(folder, one)[1], weights(tmp_path, one)[1])


def test_what_has_no_meaning_for_a_mixture_is_refused(both):
    folder, one, _ = both
    stack, _ = weights(folder, one)
    with pytest.raises(ConfigError, match="data.kind=mixed: no certificate codes"):
        certificates.of_run(one, stack, None, as_set=False, whole_texts=False)
    with pytest.raises(ConfigError, match="data.kind=mixed: cannot be exported"):
        forms.check(one)
    for setting in ("measure.held_out_people=3", "measure.wording=true"):
        with pytest.raises(ConfigError, match=setting.replace(".", r"\.")):
            config("data.n_people=40", "data.n_rows=60", setting, "measure.context=text")
