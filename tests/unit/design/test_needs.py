"""How large a model facts need: bits over published and own rates, ranges that stay ranges, and the
inverse."""

import json
import math
import re
from pathlib import Path

import pytest

from capacity.base.errors import ConfigError
from capacity.cli.main import main
from capacity.data import entropy
from capacity.design import facts_file, needs
from capacity.design.needs import Facts, Need
from capacity.published import values as published

BITS = Facts(bits=2e9, tokens=1e9)


def rate(exposures=1000.0, quantize="none", junk=0.0):
    (one,) = needs.rates([exposures], [quantize], [junk])
    return one


def people(tmp_path, n=40):
    """n people: a city of four, each as often, a fruit by halves, quarters and eighths."""
    fruits = ["apple"] * 4 + ["pear"] * 2 + ["plum", "fig"]
    lines = []
    for i in range(n):
        name, city, fruit = f"P{i} Q{i}", f"Town{i % 4}", fruits[i % 8]
        lines.append(
            {
                "person": name,
                "attributes": {"city": city, "fruit": fruit},
                "texts": [f"{name} lives in {city} and eats a {fruit}."],
            }
        )
    path = tmp_path / "people.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_parameters_are_bits_over_the_published_rate_at_value_and_ends():
    one = needs.need(BITS, rate())
    value = published.get("physics33/peak_1000")
    low, high = value.range
    assert one.parameters == 2e9 / value.value
    assert (one.low, one.high) == (2e9 / high, 2e9 / low)
    assert one.tokens == 1e12 and one.weight_bytes == 2 * one.parameters
    # 6 P T at 100 TFLOP/s
    assert one.gpu_hours[0] == pytest.approx(6 * 1e9 * 1e12 / 100e12 / 3600)
    assert one.gpu_hours[1] < one.gpu_hours[0] < one.gpu_hours[2]


def test_between_two_budgets_the_range_is_that_of_both():
    few, many, between = rate(100), rate(1000), rate(math.sqrt(100 * 1000))
    assert between.value == pytest.approx((few.value + many.value) / 2)
    assert (between.low, between.high) == (few.low, many.high)
    assert not between.at_least and rate(5000).at_least and rate(5000).value == many.value


def test_formats_and_junk_multiply_at_both_ends():
    plain, four = rate(), rate(quantize="int4")
    least, most = published.get("physics33/int4").range
    assert (four.low, four.high) == pytest.approx((plain.low * least, plain.high * most))
    assert needs.need(BITS, four).weight_bytes == pytest.approx(
        0.5 * needs.need(BITS, four).parameters
    )
    few, beside = rate(100), rate(300, junk=7 / 8)
    ratio = published.get("physics33/junk_300")
    assert beside.value == pytest.approx(few.value * ratio.value)
    assert beside.low == pytest.approx(few.low * ratio.range[0])
    # seven of eight tokens tell of others, so that eight times as many are trained on
    assert needs.need(BITS, beside).tokens == pytest.approx(300 * 1e9 * 8)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"exposures": 50.0}, "nothing is published below 100"),
        ({"quantize": "int3"}, "expected one of none, int8, int4"),
        ({"junk": 0.5}, "published is 0.875"),
        ({"exposures": 200.0, "junk": 7 / 8}, "published are 100, 300, 600, 1,000"),
    ],
)
def test_what_nobody_has_published_is_refused(asked, says):
    with pytest.raises(ConfigError, match=says):
        rate(**asked)


def test_own_peaks_give_rates_with_their_intervals_and_sizes():
    peak = {"curve": 0, "name": "200 exposures", "exposures": 200.0, "value": 0.5}
    peak |= {"interval": [0.4, 0.6], "edge": None, "rising": 0}
    late = peak | {"curve": 1, "name": "800 exposures", "exposures": 800.0, "value": 0.9}
    late |= {"interval": [0.8, 1.0], "edge": "smallest"}
    junk = peak | {"curve": 2, "name": "800 exposures, junk", "exposures": 800.0}
    arms = [
        {"curve": c, "parameters_paper": 1000.0 * (1 + c + k)} for c in range(3) for k in (0, 1)
    ]
    fit = {"kind": "facts", "study": "mine", "peaks": [peak, late, junk], "arms": arms}
    few, many = needs.own_rates(fit, [100, 200, 1000], "here")
    assert (few.exposures, few.value, few.at_least) == (200, 0.5, False)
    assert (few.low, few.high, few.measured) == (0.4, 0.6, (1000.0, 2000.0))
    # a peak of fewer exposures, on the edge of the sizes: a lower bound
    assert (many.value, many.at_least, many.measured) == (0.9, True, (2000.0, 3000.0))
    with pytest.raises(ConfigError, match="fit.json of a study of facts"):
        needs.own_rates({"kind": "random"}, [100], "here")


def test_the_inverse_gives_the_people_back():
    million = facts_file.of_data(["data=bios", "data.n_people=1000000"])
    one = needs.need(million, rate())
    back, low, high = needs.held(million, one.rate, one.parameters)
    assert back == pytest.approx(1e6, rel=1e-6) and low < back < high
    bits = needs.need(BITS, rate())
    assert needs.held(BITS, bits.rate, bits.parameters)[0] == pytest.approx(2e9)


def test_bits_of_a_file_go_by_frequency(tmp_path):
    path = people(tmp_path)
    facts = facts_file.of_file(path, [])
    # cities 2 bits; fruits 1/2, 1/4, 1/8, 1/8: 1.75 bits
    assert facts.bits == pytest.approx(40 * 3.75) and facts.per_person == pytest.approx(3.75)
    assert facts.uniform_bits == pytest.approx(40 * 4) and facts.name_bits is None
    assert {k: n for k, n, _, _ in facts.attributes} == {"city": 4, "fruit": 4}
    named = facts_file.of_file(path, ["data.n_names=4000"])
    assert named.name_bits == pytest.approx(entropy.name_bits(4000, 40))
    assert named.bits == pytest.approx(40 * 3.75 + named.name_bits)
    # the length of windows is not asked for, and does not matter
    assert facts_file.of_file(path, ["data.seq_len=16"]) == facts


def test_four_people_are_enough(tmp_path):
    facts = facts_file.of_file(people(tmp_path, 4), [])
    assert facts.people == 4 and facts.bits == pytest.approx(4 * 2)  # all eat apples


def test_the_command_says_it_in_80_columns_and_all_digits_as_json(tmp_path, capsys):
    path = str(people(tmp_path))
    assert main(["size", path, "--results", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    words = " ".join(printed.split())
    assert "40 people, 150bit of knowledge" in words and "names count no bits" in words
    assert main(["size", path, "--json", "--parameters", "1e4", "--results", str(tmp_path)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["published"]) == 12 and told["own"] == []
    first = told["published"][0]
    assert first["parameters"] == pytest.approx(150 / first["rate"]["value"])
    assert first["held"]["value"] == pytest.approx(1e4 * first["rate"]["value"] / 3.75)
    assert first["held"]["of"] == "people"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "expected a file of facts, or --bits"),
        (["nowhere.jsonl"], "nowhere.jsonl: no such file"),
        (["--bits", "-3"], "--bits -3: expected a number above 0"),
        (["--tokens", "3", "data=bios"], "--tokens without --bits"),
        (["--bits", "1e9", "--junk", "half"], "--junk half: expected a share"),
        (["--bits", "1e9", "--exposures", "20"], "nothing is published below 100"),
        (["--bits", "1e9", "--parameters", "0"], "--parameters 0: expected a number above 0"),
        (["--bits", "1e9", "--law", "none.json"], "--law none.json: No such file"),
        (["data=uniform"], "expected data about people"),
        (["--bits", "1e9", "data=bios"], "give bits or facts"),
    ],
)
def test_wrong_requests_are_one_line(arguments, says, tmp_path, capsys):
    assert main(["size", *arguments, "--results", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert says in error and len(error.strip().splitlines()) == 1


def test_a_need_without_tokens_has_no_hours():
    one = needs.need(Facts(bits=1e6), rate())
    assert isinstance(one, Need) and one.tokens is None and one.gpu_hours is None


def test_the_page_shows_what_the_command_prints(tmp_path, capsys, monkeypatch):
    page = Path(__file__).parents[3] / "docs" / "how-to" / "sizing.md"
    (block,) = re.findall(r"```text\n\$ capacity (.*?)\n(.*?)```", page.read_text("utf-8"), re.S)
    command, shown = block
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 0
    assert capsys.readouterr().out.startswith(shown)
