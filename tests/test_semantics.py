"""What docs/SEMANTICS.md says is held by tests that quote it: `@pytest.mark.says("so many of its words")`.

A statement is a sentence, or a row of a table. A quote is a part of one statement, or some of them whole.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

HOUSE = Path(__file__).parent.parent
SENTENCE = re.compile(r"(?<=\.) (?=[A-Z`])|(?<=\.\)) ")


def plain(text: str) -> str:
    return " ".join(text.split())


def blocks(section: str) -> Iterator[str]:
    """Yield the paragraphs, list items and rows of a section."""
    section = re.sub(r"^```.*?^```$", "", section, flags=re.MULTILINE | re.DOTALL)
    for paragraph in re.split(r"\n\s*\n|\n(?=\* |\|)", section):
        if paragraph.startswith("|"):
            yield plain(" ".join(cell.strip() for cell in paragraph.strip().strip("|").split("|")))
        elif text := plain(paragraph.removeprefix("* ")):
            yield text


def without_heads(found: list[str]) -> list[str]:
    """Leave out the rows of tables that only name their columns, and the lines below them."""
    lines = {number for number, block in enumerate(found) if re.fullmatch(r"[- ]+", block)}
    return [block for number, block in enumerate(found) if not {number, number + 1} & lines]


def sections() -> dict[str, list[str]]:
    """Return the statements of each section by its heading; what stands before the first says nothing."""
    parts = re.split(r"^##+ (.*)$", (HOUSE / "docs/SEMANTICS.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    found = {}
    for heading, section in zip(parts[::2], parts[1::2], strict=True):
        said = without_heads(list(blocks(section)))
        found[heading] = [sentence for block in said for sentence in SENTENCE.split(block)]
    return found


def quotes() -> Iterator[tuple[str, str]]:
    """Yield what the tests quote, each with the name of its file."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"says", "pytest.mark.says"}:
                yield from ((path.name, plain(ast.literal_eval(word))) for word in node.args)


SECTIONS = sections()
STATEMENTS = [statement for section in SECTIONS.values() for statement in section]
QUOTES = list(quotes())


def is_quoted(statement: str) -> bool:
    return any(quote in statement or statement in quote for _, quote in QUOTES)


@pytest.mark.parametrize(("file", "quote"), QUOTES)
def test_what_a_test_quotes_is_said_once(file: str, quote: str) -> None:
    parts = [statement for statement in STATEMENTS if quote in statement]
    wholes = [statement for statement in STATEMENTS if statement in quote]
    assert len(parts) == 1 or wholes, f"{file} quotes what docs/SEMANTICS.md says {len(parts)} times: {quote}"


@pytest.mark.parametrize("heading", SECTIONS)
def test_each_statement_is_quoted_by_a_test(heading: str) -> None:
    assert [statement for statement in SECTIONS[heading] if not is_quoted(statement)] == []
