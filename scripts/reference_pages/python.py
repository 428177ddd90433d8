"""The page of the Python interface: every public name of `import capacity` with its signature and
docstring, read from the source, so that neither torch nor pandas is loaded."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import capacity
from reference_pages import markdown

ABOUT = """\
What `import capacity` offers. Every name is loaded when it is first asked for, so that the import
itself loads neither torch nor pandas."""
Defined = ast.FunctionDef | ast.ClassDef


def page() -> str:
    """Functions first, then classes, as `capacity.__all__` has them."""
    found = {name: _defined(name) for name in sorted(capacity.__all__, key=str.lower)}
    functions = [(name, one) for name, one in found.items() if isinstance(one, ast.FunctionDef)]
    classes = [(name, one) for name, one in found.items() if isinstance(one, ast.ClassDef)]
    overview = markdown.table(
        ("name", "what it is"),
        (
            (f"[capacity.{name}](#{markdown.anchor(_heading(name, one))})", _first(one))
            for name, one in [*functions, *classes]
        ),
    )
    parts = [_function(one, "capacity.", "##") for _, one in functions]
    parts += [_class(name, one) for name, one in classes]
    return markdown.page("Python", ABOUT, overview, *parts)


def _defined(name: str) -> Defined:
    """Where a public name is defined; of overloads the last one. ValueError without a docstring."""
    module = vars(capacity)["_MODULES"][name]
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None, module
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    (*_, found) = (one for one in tree.body if isinstance(one, Defined) and one.name == name)
    if not ast.get_docstring(found):
        raise ValueError(f"{module}.{name}: a public name says what it is")
    return found


def _heading(name: str, one: Defined) -> str:
    """A class says so: `bits` and `Bits` would be one place."""
    return f"class capacity.{name}" if isinstance(one, ast.ClassDef) else f"capacity.{name}"


def _first(one: Defined) -> str:
    """The first sentence of a docstring."""
    text = " ".join((ast.get_docstring(one) or "").split("\n\n")[0].split())
    return markdown.words(re.split(r"(?<=\.)\s", text)[0])


def _signature(one: ast.FunctionDef, before: str) -> str:
    """As a person calls it, an argument a line where it is long; without `self`."""
    args = ast.parse(ast.unparse(one.args).join(["def f(", "): pass"])).body[0]
    assert isinstance(args, ast.FunctionDef)
    args.args.args = [arg for arg in args.args.args if arg.arg != "self"]
    inner = ast.unparse(args.args)
    result = f" -> {ast.unparse(one.returns)}" if one.returns else ""
    line = f"{before}{one.name}({inner}){result}"
    if len(line) <= 88:
        return line
    split = re.sub(r", (?=\*|\*?\w+(?::|,|$|=))", ",\n    ", inner)
    return f"{before}{one.name}(\n    {split},\n){result}"


def _docstring(one: Defined) -> str:
    """Its paragraphs; what is indented is typed as it stands."""
    out = []
    for part in (ast.get_docstring(one) or "").split("\n\n"):
        if all(line.startswith("    ") for line in part.splitlines()):
            out.append("```python\n" + re.sub(r"^ {4}", "", part, flags=re.M) + "\n```")
        else:
            out.append(markdown.words(part))
    return "\n\n".join(out)


def _function(one: ast.FunctionDef, before: str, level: str) -> str:
    code = f"```python\n{_signature(one, before)}\n```"
    return f"{level} {before}{one.name}\n\n{code}\n\n{_docstring(one)}"


def _class(name: str, one: ast.ClassDef) -> str:
    fields = [
        (markdown.code(part.target.id), markdown.code(ast.unparse(part.annotation)))
        for part in one.body
        if isinstance(part, ast.AnnAssign)
        and isinstance(part.target, ast.Name)
        and not part.target.id.startswith("_")
    ]
    lines = [f"## {_heading(name, one)}\n\n{_docstring(one)}"]
    if fields:
        lines.append(markdown.table(("field", "type"), fields))
    for part in one.body:
        if not isinstance(part, ast.FunctionDef) or part.name.startswith("_"):
            continue
        if not ast.get_docstring(part):
            raise ValueError(f"{name}.{part.name}: a public name says what it is")
        if any(isinstance(d, ast.Name) and d.id == "property" for d in part.decorator_list):
            result = f": {ast.unparse(part.returns)}" if part.returns else ""
            code = f"```python\n{name}.{part.name}{result}\n```"
            lines.append(f"### {name}.{part.name}\n\n{code}\n\n{_docstring(part)}")
        else:
            lines.append(_function(part, f"{name}.", "###"))
    return "\n\n".join(lines)
