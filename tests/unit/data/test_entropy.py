"""Exact bits of facts: the published numbers to their last digit, the two oracles, and the inverse
of R^max P."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from capacity.data import entropy, resolve
from capacity.settings.data import BiodData, BiosData

N0 = 400 * 400 * 1000
S0 = 2 * (12 * 28 * 200) * 200 * 300 * 100 * 263
LOG_S0 = math.log2(S0)

# N, log2(N0/N), bits per person, Mbit in all and its decimals, log2 C(N0, N) / N: physics33.md,
# section 2.3
TABLE = [
    (10_000, 13.966, 61.557, 0.616, 3, 15.41),
    (20_000, 12.966, 60.557, 1.211, 3, 14.41),
    (50_000, 11.644, 59.235, 2.962, 3, 13.09),
    (100_000, 10.644, 58.235, 5.824, 3, 12.09),
    (200_000, 9.644, 57.235, 11.447, 3, 11.09),
    (500_000, 8.322, 55.914, 27.957, 3, 9.76),
    (1_000_000, 7.322, 54.914, 54.914, 3, 8.76),
    (2_000_000, 6.322, 53.914, 107.83, 2, 7.76),
    (5_000_000, 5.000, 52.592, 262.96, 2, 6.42),
    (10_000_000, 4.000, 51.592, 515.92, 2, 5.40),
    (20_000_000, 3.000, 50.592, 1011.83, 2, 4.35),
]
NEAR = 1e-9  # a half in the last digit is a digit; this is for the rounding of the sum only


@pytest.mark.parametrize("n, name, person, mbit, decimals, exact", TABLE)
def test_the_published_table(n, name, person, mbit, decimals, exact):
    assert entropy.name_bits(N0, n) / n == pytest.approx(name, abs=5e-4 + NEAR)
    assert entropy.knowledge_ceiling(n, N0, LOG_S0) / n == pytest.approx(person, abs=5e-4 + NEAR)
    assert entropy.knowledge_ceiling(n, N0, LOG_S0) / 1e6 == pytest.approx(
        mbit, abs=0.5 * 10**-decimals + NEAR
    )
    assert entropy.log2_name_sets(N0, n) / n == pytest.approx(exact, abs=5e-3 + NEAR)


def test_the_published_spaces_are_the_defaults():
    data = BiosData(n_people=50_000)
    assert data.n_names == N0 and math.log2(data.n_names) == pytest.approx(27.2535, abs=5e-5)
    assert data.attribute_bits == pytest.approx(47.5916, abs=5e-5)
    assert data.attribute_bits == pytest.approx(LOG_S0, abs=1e-12)
    parts = {
        "gender": 1,
        "birth_date": 16.036,
        "birth_city": 7.644,
        "university": 8.229,
        "major": 6.644,
        "employer": 8.039,
    }
    assert {k: math.log2(v) for k, v in data.attribute_sizes.items()} == pytest.approx(
        parts, abs=5e-4
    )
    assert resolve.of(data).bits(50_000) == pytest.approx(
        entropy.knowledge_ceiling(50_000, N0, LOG_S0)
    )


@pytest.mark.parametrize(
    "changes, bits",
    [
        ({"full_names": True}, LOG_S0 - 1),  # no pronoun, no gender
        ({"years": 0}, LOG_S0 - math.log2(12 * 28 * 200)),
        ({"employers": 0}, LOG_S0 - math.log2(263)),
        ({"years": 10, "middle_names": 0}, LOG_S0 - math.log2(20)),
        (
            {"years": 0, "cities": 0, "universities": 0, "employers": 0},
            math.log2(100),
        ),  # one sentence has no pronoun
        (
            {"years": 0, "cities": 0, "universities": 0, "majors": 0},
            math.log2(263) + 1,
        ),  # two: employer and its city
    ],
)
def test_only_what_the_text_shows_counts(changes, bits):
    assert BiosData(n_people=10, **changes).attribute_bits == pytest.approx(bits)


def parameters(layers, heads):
    d = 64 * heads
    return 3275 * d + layers * (12 * d**2 + 13 * d) + 2 * d


@pytest.mark.parametrize(
    "n, layers, heads, ratio",
    [
        (10_000, 2, 2, 0.754),
        (20_000, 2, 2, 1.484),
        (50_000, 2, 2, 3.630),
        (50_000, 3, 2, 2.920),
        (50_000, 7, 2, 1.639),
        (2_000_000, 16, 8, 2.069),
    ],
)
def test_known_ceilings_per_parameter(n, layers, heads, ratio):
    assert entropy.knowledge_ceiling(n, N0, LOG_S0) / parameters(layers, heads) == pytest.approx(
        ratio, abs=5e-4 + NEAR
    )


@given(st.integers(1, 10**7), st.integers(1, 10**9), st.floats(0, 100))
def test_the_uniform_oracle_has_nothing_and_the_perfect_one_all(n, n0, s0):
    assume(n <= n0)
    scale = n * (math.log2(n0) + s0 + 1)
    assert entropy.knowledge_bits(n, n0, math.log(n0), s0, s0 * math.log(2)) == pytest.approx(
        0, abs=1e-12 * scale
    )
    ceiling = entropy.knowledge_ceiling(n, n0, s0)
    assert entropy.knowledge_bits(n, n0, math.log(n), s0, 0.0) == pytest.approx(
        ceiling, abs=1e-12 * scale
    )


@given(st.integers(2, 10**6), st.floats(0, 30), st.floats(0, 60))
def test_a_nat_costs_its_bits_once_per_person(n, more1, more2):
    """In natural units, summed: a probability e^-x costs x / ln 2 bits of each person, and R may go
    below zero."""
    held = entropy.knowledge_bits(n, N0, math.log(n) + more1, LOG_S0, more2)
    assert held == pytest.approx(
        entropy.knowledge_ceiling(n, N0, LOG_S0) - n * (more1 + more2) / math.log(2),
        rel=1e-9,
        abs=1e-3,
    )
    assert entropy.knowledge_bits(n, N0, 100.0, LOG_S0, 100.0) < 0


def test_an_employer_told_by_its_city_would_be_worth_six_bits():
    """The leak of section 2.4: all at chance, but the employer known up to its 1.726 bits given the
    city."""
    p2 = math.log(S0) - 6.313 * math.log(2)
    assert entropy.knowledge_bits(1, N0, math.log(N0), LOG_S0, p2) == pytest.approx(6.313, abs=1e-9)


BIOD = st.tuples(
    st.integers(4, 10**6),
    st.integers(1, 50),
    st.integers(1, 50),
    st.integers(1, 10_000),
    st.integers(1, 50),
    st.integers(2, 40_000),
).filter(lambda s: math.log2(s[3]) <= s[4] * math.log2(s[5]))


@given(BIOD)
def test_the_oracles_of_biod(sizes):
    n, k, c, d, length, t = sizes
    biod = entropy.BiodSizes(N0, k, c, d, length, t)
    names, values = n * math.log2(N0 / n), n * k * c * math.log2(d)
    sets = k * d * (length * math.log2(t) - math.log2(d))
    scale = 1e-12 * (n * 27.3 + n * k * c * 14 + k * d * length * 16 + 1)
    assert entropy.biod_ceiling(n, biod) == pytest.approx(names + values + sets, abs=scale)
    uniform = math.log(N0), c * math.log(d), length * math.log(t) - math.log(d)
    assert entropy.biod_bits(n, biod, *uniform) == pytest.approx(0, abs=scale)
    perfect = entropy.biod_bits(n, biod, math.log(n), 0.0, 0.0)
    assert perfect == pytest.approx(names + values + sets, abs=scale)
    # p3 is paid once per string of a set, p2 once per person
    dearer = entropy.biod_bits(n, biod, math.log(n), 1.0, 2.0)
    assert perfect - dearer == pytest.approx((n * k + 2 * k * d) / math.log(2), abs=scale)
    assert entropy.diversity_bits(t, length, d, 0.0) * k == pytest.approx(sets, abs=scale)


@given(st.integers(1, 10**9), st.floats(0, 60), st.floats(0, 0.9))
def test_the_population_of_a_ceiling_is_the_one_that_made_it(n0, bits, share):
    top = max(
        1, min(n0, int(n0 * 2.0 ** min(0.0, bits - math.log2(math.e))))
    )  # R^max P falls again above N0 2^b / e
    n = max(1, int(top * share))
    assert entropy.largest_population(entropy.knowledge_ceiling(n, n0, bits), n0, bits) == n


@given(st.integers(2, 10**9), st.floats(3, 60), st.floats(0, 1.1))
def test_the_population_is_the_nearest(n0, person_bits, share):
    wanted = share * entropy.knowledge_ceiling(n0, n0, person_bits)
    n = entropy.largest_population(wanted, n0, person_bits)
    assert 1 <= n <= n0
    miss = abs(entropy.knowledge_ceiling(n, n0, person_bits) - wanted)
    for other in {max(1, n - 1), min(n0, n + 1)}:
        assert miss <= abs(entropy.knowledge_ceiling(other, n0, person_bits) - wanted) * (1 + 1e-12)


@given(st.integers(1, 400).flatmap(lambda n0: st.tuples(st.just(n0), st.integers(1, n0))))
def test_the_name_term_understates_a_set_of_names_by_at_most_log2_e(sizes):
    n0, n = sizes
    exact = math.log2(math.comb(n0, n))
    assert entropy.log2_name_sets(n0, n) == pytest.approx(exact, abs=1e-8)
    assert entropy.name_bits(n0, n) <= exact + 1e-9
    assert exact <= entropy.name_bits(n0, n) + n * math.log2(math.e)


@given(st.floats(1.0, 4.0), st.integers(10**5, 10**9))
def test_a_load_is_met_to_half_a_person(load, p):
    data = BiosData(load=load)
    n = resolve.of(data).items(p)
    assert abs(resolve.of(data).bits(n) - load * p) <= 62
    some = resolve.of(BiodData(load=load))
    assert (
        abs(some.bits(some.items(p)) - load * p) <= 90 or some.items(p) == 4
    )  # 4: the sets alone hold more than that
