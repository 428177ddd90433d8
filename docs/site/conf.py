"""How the pages of docs/ become a site: `make docs`, Sphinx with MyST and the Furo theme.

The source folder is the root of the repository, so that pages link to the README beside a fit, to
CONTRIBUTING.md and to figures of results/studies by the paths that they have there. The Markdown
stays what GitHub shows, too: lists of pages (toctrees) are added here, not written into it.
The built pages need no network; the build fails where one would.
"""

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import SphinxError

ROOT = Path(__file__).resolve().parents[2]

project = "capacity"
author = "The capacity authors"
copyright = author  # Sphinx's name
release = re.findall(r'__version__ = "([^"]+)"', (ROOT / "capacity/__init__.py").read_text())[0]
version = release

extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/**",
    "results/studies/**",
    "results/compression/**",
]
exclude_patterns = [
    ".*",
    "**/__pycache__",
    "build",
    "dist",
    "capacity",
    "conf",
    "scripts",
    "sweeps",
    "tests",
    "docs/site",
    "docs/templates",
    "results/runs",
    "results/submissions",
]
source_suffix = {".md": "markdown"}
myst_enable_extensions = ["html_image"]  # <img width=...> as GitHub takes it
myst_heading_anchors = 4
highlight_language = "none"  # blocks of commands and of what they print
nitpicky = True
smartquotes = False  # quotes of commands are typed as they stand

html_theme = "furo"
html_title = f"capacity {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["extra"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": False, "top_of_page_buttons": []}

# The sections, in the order of a reader; a section lists what lies in its folder.
SECTIONS = {
    "Learn": ["docs/tutorials/index"],
    "Do": ["docs/how-to/index"],
    "Understand": ["docs/explanation/index", "docs/decisions/index"],
    "Look up": ["docs/results/index", "docs/reference/index", "docs/changed_answers"],
    "Project": ["README", "CONTRIBUTING", "CHANGELOG"],
}
TITLES = {"README": "README </README>"}  # its own title is the project's
UNLISTED = (
    "docs/decisions/",
    "results/studies/",
    "results/compression/",
)  # too many for the side bar; indexes link there
FETCHED = re.compile(r'<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)="(?:https?:)?//[^"]*"')
IMPORTED = re.compile(
    r"""(?:@import\s+|url\(\s*)["']?(?:https?:)?//[^"')\s]*"""
)  # in a style sheet


def add_lists(app: Sphinx, docname: str, source: list[str]) -> None:
    """Appends to an index what it lists."""
    if docname == root_doc:
        for caption, names in SECTIONS.items():
            entries = "\n".join(TITLES.get(name, f"/{name}") for name in names)
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{entries}\n```\n"
    elif docname.startswith(UNLISTED):
        if not docname.endswith("/index"):
            source[0] = f"---\norphan: true\n---\n{source[0]}"
    elif docname.endswith("/index"):
        folder = Path(app.srcdir, docname).parent
        if len(list(folder.glob("*.md"))) > 1:
            source[0] += "\n```{toctree}\n:glob:\n:hidden:\n\n*\n```\n"


def refuse_fetching(app: Sphinx, exception: Exception | None) -> None:
    """A page that loads something from elsewhere cannot be read without a network."""
    if exception is not None or app.builder.name != "html":
        return
    for suffix, pattern in (("html", FETCHED), ("css", IMPORTED)):
        for page in sorted(Path(app.outdir).rglob(f"*.{suffix}")):
            if found := pattern.search(page.read_text(encoding="utf-8")):
                raise SphinxError(f"{page.relative_to(app.outdir)} needs a network: {found[0]}")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", add_lists)
    app.connect("build-finished", refuse_fetching)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
