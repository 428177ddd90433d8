"""Reading value lists and templates: what was written is what is shown, every mistake is one line
with its place."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capacity.base.errors import ConfigError
from capacity.config import from_dict
from capacity.data import lists

SIZES = {
    "first_name": 2,
    "middle_name": 2,
    "last_name": 2,
    "birth_city": 2,
    "university": 2,
    "major": 2,
    "employer": 2,
}
GOOD = {
    "first_name.txt": "Ann\nBo\nCy\n",
    "middle_name.txt": "Dee\nEd\n",
    "last_name.txt": "Fox\nGil\n",
    "city.txt": "Reno, NV\nMesa, AZ\n",
    "university.txt": "Arden College\nBexley College\n",
    "field.txt": "Law\nArt\n",
    "company.txt": "Orbo; Rome, NY\nZenro; Ames, IA\nTarn Oil; Rome, NY\n",
}
TEMPLATES = (
    "# comment\n\n[major]\n{subject} studied {value}.\n[employer]\n{subject} is at {value}.\n"
)
ODD = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # the folder may be shared between examples


@pytest.fixture
def pools(tmp_path):
    for name, text in GOOD.items():
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


def complaint(call, *args):
    """The text of the ConfigError; always a single line."""
    with pytest.raises(ConfigError) as info:
        call(*args)
    assert "\n" not in str(info.value)
    return str(info.value)


def test_lists_are_read_whole_and_in_order(pools):
    read = lists.read_pools(pools, SIZES)
    assert read.first_name == ("Ann", "Bo", "Cy") and read.birth_city == ("Reno, NV", "Mesa, AZ")
    assert read.employer == ("Orbo", "Zenro", "Tarn Oil")
    assert read.work_city == ("Rome, NY", "Ames, IA") and read.headquarters == (0, 1, 0)


def test_a_list_that_is_not_needed_may_be_absent_or_wrong(pools):
    (pools / "university.txt").unlink()
    (pools / "field.txt").write_text("Law\nLaw\n")
    read = lists.read_pools(pools, SIZES | {"university": 0, "major": 0})
    assert read.university == read.major == () and len(read.employer) == 3


def test_spaces_around_values_and_empty_lines_at_the_end_are_harmless(pools):
    (pools / "field.txt").write_bytes(b" Law \r\nArt\t\r\n\r\n  \n")
    (pools / "company.txt").write_text("Orbo ; Rome, NY\nZenro;Ames, IA")
    read = lists.read_pools(pools, SIZES)
    assert read.major == ("Law", "Art") and read.employer == ("Orbo", "Zenro")
    assert read.work_city == ("Rome, NY", "Ames, IA")


def test_values_may_be_in_any_language(pools):
    (pools / "field.txt").write_text("Physique théorique\n数学\n", "utf-8")
    assert lists.read_pools(pools, SIZES).major == ("Physique théorique", "数学")


@pytest.mark.parametrize(
    "name, text, line, words",
    [
        ("field.txt", "", None, ["field.txt", "empty"]),
        ("field.txt", "\n\n", None, ["field.txt", "empty"]),
        ("field.txt", "Law\n\nArt\n", 2, ["empty line"]),
        ("field.txt", "Law\nArt\nBio\nLaw\n", 4, ["'Law'", "line 1"]),
        ("field.txt", "Law\nArt\n Art \n", 3, ["'Art'", "line 2"]),
        ("field.txt", "Law\n", None, ["field.txt", "1 values", "2"]),
        ("field.txt", "Law\nCivil  Law\n", 2, ["single spaces"]),
        ("field.txt", "Law\nCivil\tLaw\n", 2, ["'Civil\\tLaw'"]),
        ("field.txt", "Law\nCivil\u00a0Law\n", 2, ["Civil"]),
        (
            "company.txt",
            "Orbo; Rome, NY\nZenro, Ames, IA\n",
            2,
            ["'Zenro, Ames, IA'", "headquarters"],
        ),
        ("company.txt", "Orbo; Rome, NY\nZenro;\n", 2, ["'Zenro;'"]),
        ("company.txt", "Orbo; Rome, NY\n; Ames, IA\n", 2, ["'; Ames, IA'"]),
        (
            "company.txt",
            "Orbo; Rome, NY\nZenro; Ames, IA\nOrbo; Ames, IA\n",
            3,
            ["'Orbo'", "line 1"],
        ),
    ],
)
def test_a_bad_list_is_named_with_its_line(pools, name, text, line, words):
    (pools / name).write_text(text, "utf-8")
    said = complaint(lists.read_pools, pools, SIZES)
    assert (f"{pools / name}:{line}: " if line else str(pools / name)) in said
    assert all(word in said for word in words), said


def test_bytes_that_are_no_text_are_named(pools):
    (pools / "field.txt").write_bytes(b"Law\nArt\xff\n")
    assert (
        str(pools / "field.txt") in (said := complaint(lists.read_pools, pools, SIZES))
        and "UTF-8" in said
    )


def test_missing_lists_are_all_named_at_once(pools):
    (pools / "field.txt").unlink()
    (pools / "last_name.txt").unlink()
    said = complaint(lists.read_pools, pools, SIZES)
    assert "field.txt" in said and "last_name.txt" in said and "university.txt" not in said


def test_no_such_folder_or_file(tmp_path):
    said = complaint(lists.read_pools, tmp_path / "nowhere", SIZES)
    assert "data.pools_dir" in said and "nowhere" in said
    assert str(tmp_path / "t.txt") in complaint(
        lists.read_templates, tmp_path / "t.txt", ("major",)
    )
    (tmp_path / "folder").mkdir()
    assert str(tmp_path / "folder") in complaint(
        lists.read_templates, tmp_path / "folder", ("major",)
    )


def test_a_run_with_wrong_files_stops_at_its_configuration(pools):
    """The same messages reach a person who starts a run, before anything is trained."""
    data = {
        "kind": "bios",
        "n_people": 4,
        "pools_dir": str(pools),
        "vocabulary": "world",
        "first_names": 2,
        "middle_names": 2,
        "last_names": 2,
        "cities": 2,
        "universities": 2,
        "majors": 3,
        "employers": 2,
    }
    said = complaint(from_dict, {"data": data, "train": {"steps": 300}})
    assert str(pools / "field.txt") in said and "2 values" in said and "3" in said
    file = pools / "t.txt"
    file.write_text("[major]\n{subject} studied.\n")
    said = complaint(
        from_dict,
        {"data": data | {"majors": 2, "templates_file": str(file)}, "train": {"steps": 300}},
    )
    assert f"{file}:2:" in said and "{value}" in said


def test_templates_come_by_section_and_in_order(tmp_path):
    file = tmp_path / "t.txt"
    file.write_text(TEMPLATES + "[major]\n{subject}'s field, {value}, was hard.\n", "utf-8")
    read = lists.read_templates(file, ("major", "employer"))
    assert [t.text("Bo", "Law") for t in read["major"]] == [
        " Bo studied Law.",
        " Bo's field, Law, was hard.",
    ]
    assert [t.text("He", "Orbo") for t in read["employer"]] == [" He is at Orbo."]
    # sections that no sentence needs are left out
    assert set(lists.read_templates(file, ("employer",))) == {"employer"}
    assert (
        read["major"][1].slot("subject").glue == "'s" and read["major"][1].slot("value").glue == ","
    )


@pytest.mark.parametrize(
    "text, line, words",
    [
        ("[major]\n{subject} studied.\n", 2, ["{value}", "0 times"]),
        ("[major]\nThe field was {value}.\n", 2, ["{subject}", "0 times"]),
        ("[major]\n{subject} studied {value} and {value}.\n", 2, ["{value}", "2 times"]),
        ("[major]\n{subject} is {subject} of {value}.\n", 2, ["{subject}", "2 times"]),
        ("# x\n\n[hobby]\n{subject} likes {value}.\n", 3, ["hobby", "allowed", "birth_date"]),
        ("[majors]\n{subject} likes {value}.\n", 1, ["did you mean major"]),
        ("{subject} likes {value}.\n[major]\n", 1, ["before"]),
        (
            "[major]\n{subject} likes {value}.\n# x\n{subject} likes {value}.\n",
            4,
            ["twice", "line 2"],
        ),
        ("[major]\n{subject}  likes {value}.\n", 2, ["single spaces"]),
        ("[major]\n{subject}\tlikes {value}.\n", 2, ["single spaces"]),
        ("[major]\n{subject} likes{value}.\n", 2, ["space in front"]),
        ("[major]\n{subject} likes ({value}).\n", 2, ["space in front"]),
        ("[major]\n{subject}{value}.\n", 2, ["space in front"]),
        ("[major]\n{subject} likes {value} {0}.\n", 2, ["braces"]),
        ("[major]\n{subject} likes {value}{.\n", 2, ["{"]),
        ("[major]\n{subject} likes {value}}.\n", 2, ["}"]),
        ("[major]\n{subject} likes {{value}}.\n", 2, ["{"]),
        ("[major]\n{subject} likes } {value}.\n", 2, ["}"]),
        ("[major]\n{subject} likes {valu}.\n", 2, ["{value}"]),
        ("[major\n{subject} likes {value}.\n", 1, ["[major"]),
    ],
)
def test_a_bad_template_is_named_with_its_line(tmp_path, text, line, words):
    file = tmp_path / "t.txt"
    file.write_text(text, "utf-8")
    said = complaint(lists.read_templates, file, ("major",))
    assert said.startswith(f"{file}:{line}: "), said
    assert all(word in said for word in words), said


def test_missing_sections_are_all_named(tmp_path):
    file = tmp_path / "t.txt"
    file.write_text(TEMPLATES + "[university]\n", "utf-8")
    said = complaint(lists.read_templates, file, ("birth_date", "university", "major"))
    assert (
        str(file) in said
        and "birth_date, university" in said
        and "major" not in said.partition("templates for")[2]
    )


words = st.text("abcXYZ019é'.,!?-", min_size=1, max_size=6)
literals = st.lists(words.filter(lambda w: not w.startswith("[")), max_size=3)
values = st.text("Aab é.,'", min_size=1, max_size=12).map(str.split).map(" ".join).filter(bool)


@ODD
@given(
    literals,
    literals,
    literals,
    words | st.just(""),
    words | st.just(""),
    st.booleans(),
    values,
    values,
)
def test_a_template_says_what_its_line_says(
    tmp_path, before, between, after, glue1, glue2, swap, subject, value
):
    first, second = ("value", "subject") if swap else ("subject", "value")
    line = " ".join([*before, f"{{{first}}}{glue1}", *between, f"{{{second}}}{glue2}", *after])
    file = tmp_path / "t.txt"
    file.write_text(f"[major]\n{line}\n", "utf-8")
    ((template,),) = lists.read_templates(file, ("major",)).values()
    assert template.text(subject, value) == " " + line.replace("{subject}", subject).replace(
        "{value}", value
    )
    # pieces are joined at single spaces, where no token crosses: every part is empty or begins with
    # one
    assert all(
        part == "" or part.startswith(" ")
        for part in (template.before, template.between, template.after)
    )
    assert {template.first.name, template.second.name} == {"subject", "value"}
    assert template.slot("subject").glue == (glue2 if swap else glue1)


@settings(ODD, max_examples=400)
@given(
    st.lists(
        st.sampled_from(
            [
                "{subject}",
                "{value}",
                "{",
                "}",
                "{}",
                " ",
                "  ",
                "'s",
                "[",
                "]",
                "#",
                "a",
                ".",
                "{x}",
                "{subject} is {value}",
                "{value} for {subject}",
            ]
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_line_is_either_refused_in_one_line_or_shown_as_written(tmp_path, parts):
    line = "".join(parts).strip()
    file = tmp_path / "t.txt"
    file.write_text(f"[major]\n{line}\n{{subject}} did {{value}}.\n", "utf-8")
    try:
        read = lists.read_templates(file, ("major",))["major"]
    except ConfigError as error:
        assert str(error).startswith(f"{file}:2: ") and "\n" not in str(error)
        return
    if len(read) == 2:
        assert read[0].text("S", "V") == " " + line.replace("{subject}", "S").replace(
            "{value}", "V"
        )
        assert re.findall(r"[{}]", line.replace("{subject}", "").replace("{value}", "")) == []
    else:
        assert (
            line == "" or line[0] in "[#"
        )  # a comment or a heading, of which only that of an attribute passes
        assert line == "" or line[0] == "#" or line == "[major]"


@ODD
@given(st.binary(max_size=40))
def test_any_bytes_are_either_refused_in_one_line_or_a_list_of_distinct_values(tmp_path, data):
    file = tmp_path / "l.txt"
    file.write_bytes(data)
    try:
        read = lists.read_list(file)
    except ConfigError as error:
        assert str(file) in str(error) and "\n" not in str(error)
        return
    assert read and len(set(read)) == len(read)
    assert all(
        value == value.strip() and value and " ".join(value.split()) == value for value in read
    )
