"""Documents can be relied on: links and anchors lead somewhere, every page is found from the index."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parent.parent
FOLDERS = (".github", "app", "docker", "docs", "model", "tests", "training")
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))]
)
# A document that is named in a comment, a message or a setting, with its anchor if there is one.
MENTION = re.compile(r"\b((?:docs|training|tests)/[\w./-]*\.md)(?:#([\w-]+))?")
TEXTS = frozenset([".py", ".toml", ".yml", ".yaml", ".json", ".sh", ".env", ".in", ".md", ".html"])
PARSER = MarkdownIt("commonmark").enable("table")


def slug(heading: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def plain(heading: Token) -> str:
    """A heading's text, as it is shown."""
    return "".join(each.content for each in heading.children or [] if each.type in ("text", "code_inline"))


@cache
def anchors(document: Path) -> frozenset[str]:
    tokens = PARSER.parse(document.read_text(encoding="utf-8"))
    slugs = [slug(plain(tokens[i + 1])) for i, token in enumerate(tokens) if token.type == "heading_open"]
    seen: Counter[str] = Counter()
    found = set()
    for each in slugs:
        found.add(f"{each}-{seen[each]}" if seen[each] else each)
        seen[each] += 1
    return frozenset(found)


def targets(text: str) -> Iterator[str]:
    """What the links and pictures of a Markdown text lead to."""
    for token in PARSER.parse(text):
        for each in token.children or []:
            target = each.attrGet("href") or each.attrGet("src")
            if target is not None:
                yield str(target)


def is_dead(document: Path, target: str) -> bool:
    """Whether `target`, in `document`, leads to no file, out of the repository, or to no heading of its page."""
    if re.match(r"https?://", target):
        return False
    name, _, anchor = unquote(target).partition("#")
    path = (document.parent / name).resolve() if name else document
    if not path.exists() or not path.is_relative_to(ROOT):
        return True
    return bool(anchor) and (path.suffix != ".md" or anchor not in anchors(path))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_and_anchor_leads_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert [target for target in targets(text) if is_dead(document, target)] == []


@pytest.mark.parametrize(
    ("target", "dead"),
    [
        ("#use-it", False),
        ("#nowhere", True),
        ("docs/capacity.md#on-a-gpu", False),
        ("docs/capacity.md#on-a-tpu", True),
        ("docs/nothing.md", True),
        ("Makefile#serve", True),
        ("../elsewhere", True),
        ("https://example.com/#anything", False),
    ],
)
def test_dead_links_are_known_from_good_ones(target: str, dead: bool) -> None:
    assert is_dead(ROOT / "README.md", target) is dead


def test_anchors_are_those_that_github_makes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# `make bench`, *twice*: 2 × [8](x)\n\n## Twice\n\n## Twice\n\n```\n# no heading\n```\n", "utf-8"
    )
    assert anchors(page) == {"make-bench-twice-2--8", "twice", "twice-1"}


def test_documents_that_code_and_configuration_name_are_there() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("what belongs to the repository is known only where git is")
    dead = []
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if path.suffix not in TEXTS or path == Path(__file__) or not path.is_file():
            continue
        for document, anchor in MENTION.findall(path.read_text(encoding="utf-8")):
            if not (ROOT / document).is_file() or (anchor and anchor not in anchors(ROOT / document)):
                dead.append(f"{name}: {document}#{anchor}")
    assert dead == []


def test_index_leads_to_every_page_of_docs() -> None:
    docs = ROOT / "docs"
    linked = {
        (docs / target.partition("#")[0]).resolve()
        for target in targets((docs / "README.md").read_text("utf-8"))
    }
    assert {path for path in docs.iterdir() if path.is_file()} - {docs / "README.md"} <= linked


def test_docs_hold_prose_and_pictures_and_every_picture_is_shown() -> None:
    files = {path for path in (ROOT / "docs").rglob("*") if path.is_file()}
    assert {path.suffix for path in files} <= {".md", ".http", ".jpg"}
    shown = {
        (document.parent / target).resolve()
        for document in DOCUMENTS
        for target in targets(document.read_text("utf-8"))
    }
    assert {path for path in files if path.suffix == ".jpg"} <= shown


def test_what_contributing_names_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    cells = [line.split("|") for line in text.splitlines() if line.startswith("| `") and "`app/`" not in line]
    names = [f"app/{name}" for row in cells for name in re.findall(r"`([\w./]+)`", row[1])]
    names += [f"training/{name}" for row in cells for name in re.findall(r"`([\w./]+)`", row[3])]
    names += re.findall(r"`((?:app|training|tests|docs)/[\w./]+)`", text)
    assert len(names) >= 20
    assert [name for name in names if not (ROOT / name).exists()] == []
