"""Value lists and sentence templates from text files, with every mistake named by file and line
(standard library only).

The lists of this package lie in data/pools; a folder of the same file names takes their place.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from capacity.base.errors import ConfigError, nearest
from capacity.data import lines

OWN = Path(__file__).resolve().parent / "pools"
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
FIRST_YEAR = 1900  # Part 3.1 (arXiv 2309.14316), appendix A.1: 1900 to 2099
FILES = {
    "first_name": "first_name.txt",
    "middle_name": "middle_name.txt",
    "last_name": "last_name.txt",
    "birth_city": "city.txt",
    "university": "university.txt",
    "major": "field.txt",
    "employer": "company.txt",
}
ATTRIBUTES = ("birth_date", "birth_city", "university", "major", "employer", "work_city")
PRONOUNS = ("He", "She")


@dataclass(frozen=True)
class Slot:
    """Where a template takes the subject or the value; `glue` follows without a space, such as a
    comma or 's."""

    name: str  # subject or value
    glue: str


@dataclass(frozen=True)
class Template:
    """One sentence: literals (each with its leading space, may be empty) around two slots in the
    order of the text."""

    before: str
    first: Slot
    between: str
    second: Slot
    after: str

    def text(self, subject: str, value: str) -> str:
        """The sentence with its leading space."""
        words = {"subject": " " + subject, "value": " " + value}
        return (
            self.before
            + words[self.first.name]
            + self.first.glue
            + self.between
            + words[self.second.name]
            + self.second.glue
            + self.after
        )

    def slot(self, name: str) -> Slot:
        return self.first if self.first.name == name else self.second


@dataclass(frozen=True)
class Pools:
    """All values: names, cities, universities, majors, employers, the employers' cities in the
    order of first mention."""

    first_name: tuple[str, ...]
    middle_name: tuple[str, ...]
    last_name: tuple[str, ...]
    birth_city: tuple[str, ...] = ()
    university: tuple[str, ...] = ()
    major: tuple[str, ...] = ()
    employer: tuple[str, ...] = ()
    work_city: tuple[str, ...] = ()
    headquarters: tuple[int, ...] = ()  # of each employer, an index into work_city


def read_lines(path: Path) -> list[str]:
    """Lines of a UTF-8 text file; ConfigError if it cannot be read."""
    return [line.text for line in lines.lines(path)]


def read_list(path: Path) -> tuple[str, ...]:
    """Distinct values, one per line; empty lines at the end are allowed."""
    listed = read_lines(path)
    while listed and not listed[-1].strip():
        listed.pop()
    seen: dict[str, int] = {}
    for number, line in enumerate(listed, 1):
        value = line.strip()
        if not value:
            raise ConfigError(f"{path}:{number}: an empty line inside the list")
        if value in seen:
            raise ConfigError(
                f"{path}:{number}: {value!r} is there twice, first in line {seen[value]}"
            )
        if "  " in value or not value.isprintable():
            raise ConfigError(
                f"{path}:{number}: {value!r}: expected words with single spaces between them"
            )
        seen[value] = number
    if not seen:
        raise ConfigError(f"{path}: the list is empty")
    return tuple(seen)


def read_pools(folder: Path, sizes: dict[str, int]) -> Pools:
    """The lists that a world of these sizes needs (0: not needed), whole; ConfigError for a
    missing, short or wrong one.

    sizes: entry of FILES -> how many values the world takes.
    """
    if not folder.is_dir():
        raise ConfigError(f"data.pools_dir={folder}: not a folder")
    lists: dict[str, tuple[str, ...]] = {}
    for name, file in FILES.items():
        if sizes.get(name, 0) < 1:
            lists[name] = ()
            continue
        path = folder / file
        if not path.is_file():
            missing = [
                f for n, f in FILES.items() if sizes.get(n, 0) > 0 and not (folder / f).is_file()
            ]
            raise ConfigError(f"{path}: no such list; {folder} lacks {', '.join(missing)}")
        lists[name] = read_list(path)
        if len(lists[name]) < sizes[name]:
            raise ConfigError(
                f"{path}: {len(lists[name])} values, but the settings of this run ask for "
                f"{sizes[name]}"
            )
    employers, cities = [], []
    for number, line in enumerate(lists["employer"], 1):
        employer, semicolon, city = (part.strip() for part in line.partition(";"))
        if not (employer and semicolon and city):
            raise ConfigError(
                f"{folder / FILES['employer']}:{number}: {line!r}: expected 'employer; city of its "
                f"headquarters'"
            )
        if employer in employers:
            raise ConfigError(
                f"{folder / FILES['employer']}:{number}: {employer!r} is there twice, first in "
                f"line "
                f"{employers.index(employer) + 1}"
            )
        employers.append(employer)
        cities.append(city)
    places = tuple(dict.fromkeys(cities))
    lists["employer"] = tuple(employers)
    return Pools(
        **lists, work_city=places, headquarters=tuple(places.index(city) for city in cities)
    )


def read_templates(path: Path, attributes: tuple[str, ...]) -> dict[str, tuple[Template, ...]]:
    """Sentence templates by attribute, for at least these attributes: a [section] per attribute,
    one sentence per line with {subject} and {value} once each, lines that start with # are
    comments. ConfigError with file and line."""
    out: dict[str, dict[str, tuple[Template, int]]] = {}
    section = None
    for number, line in enumerate(read_lines(path), 1):
        line, at = line.strip(), f"{path}:{number}"
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            section = line[1:-1]
            if not line.endswith("]") or section not in ATTRIBUTES:
                raise ConfigError(
                    f"{at}: {line}: no such attribute{nearest(section, list(ATTRIBUTES))}; "
                    f"allowed: "
                    f"{', '.join(ATTRIBUTES)}"
                )
            out.setdefault(section, {})
            continue
        if section is None:
            raise ConfigError(f"{at}: a template before the first [attribute]")
        if line in out[section]:
            raise ConfigError(
                f"{at}: the template is there twice, first in line {out[section][line][1]}"
            )
        out[section][line] = (_template(line, at), number)
    missing = [name for name in attributes if not out.get(name)]
    if missing:
        raise ConfigError(f"{path}: no templates for {', '.join(missing)}")
    return {name: tuple(t for t, _ in out[name].values()) for name in attributes}


def _template(line: str, at: str) -> Template:
    for slot in ("{subject}", "{value}"):
        if line.count(slot) != 1:
            raise ConfigError(
                f"{at}: {line!r}: expected {slot} exactly once, found it {line.count(slot)} times"
            )
    text = " " + line
    if "  " in text or "\t" in text:
        raise ConfigError(f"{at}: {line!r}: expected single spaces")
    places = sorted((text.index("{" + name + "}"), name) for name in ("subject", "value"))
    literals, slots, end = [], [], 0
    for place, name in places:
        if text[place - 1] != " ":
            raise ConfigError(f"{at}: {line!r}: expected a space in front of {{{name}}}")
        literals.append(text[end : place - 1])
        rest = text[place + len(name) + 2 :]
        glue = rest.partition(" ")[0]
        if "{" in glue or "}" in glue:
            raise ConfigError(
                f"{at}: {line!r}: expected single braces with a space in front, {{subject}} and "
                f"{{value}}"
            )
        slots.append(Slot(name, glue))
        end = place + len(name) + 2 + len(glue)
    if (
        "{" in text[end:]
        or "}" in text[end:]
        or any("{" in part or "}" in part for part in literals)
    ):
        raise ConfigError(f"{at}: {line!r}: only {{subject}} and {{value}} may stand in braces")
    return Template(literals[0], slots[0], literals[1], slots[1], text[end:])
