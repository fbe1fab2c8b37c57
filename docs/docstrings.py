"""Docstrings as Sphinx reads them.

Ours are plain text with single backticks around code and indented examples, as they read best in an
editor; reStructuredText wants double ones, and has meanings of its own for |, * and _.
"""

import re

CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
FRAGILE = re.compile(r"[|*]|(?<=\w)_(?!\w)|(?<=: \w)\.$")  # the last: "C." would begin a list
VERBATIM = re.compile(r" *(>>>|\.\.\. |\*+\w+[:,])")  # examples, and *args as napoleon knows them


def as_restructured_text(lines: list[str]) -> list[str]:
    """The lines of a docstring with our marks replaced by those of reStructuredText."""
    return _lists_apart(_code_blocks(_inline(_attributes_as_arguments(lines))))


def _attributes_as_arguments(lines: list[str]) -> list[str]:
    """A class's attributes are what it is made with, and Sphinx lists what has a text otherwise."""
    return ["Args:" if line == "Attributes:" else line for line in lines]


def _inline(lines: list[str]) -> list[str]:
    """Code between double backticks, and no marks outside of it."""
    paragraphs = re.split(r"(\n\s*\n)", "\n".join(lines))
    return "".join(map(_inline_paragraph, paragraphs)).split("\n")


def _inline_paragraph(text: str) -> str:
    if ">>>" in text or text.startswith("    "):  # an example with what it prints, or a code block
        return text
    pieces = CODE.split(text)  # text, code, text, ..., text
    for i, piece in enumerate(pieces):
        if i % 2:
            pieces[i] = f"``{' '.join(piece.split())}``"
            if re.match(r"\w", pieces[i + 1]):  # the s of `SEBlock`s
                pieces[i] += "\\ "
        else:
            pieces[i] = "\n".join(
                line if VERBATIM.match(line) else FRAGILE.sub(r"\\\g<0>", line)
                for line in piece.split("\n")
            )
    return "".join(pieces)


def _code_blocks(lines: list[str]) -> list[str]:
    """Blocks that are indented by four, after an empty line and text at the margin, as code."""
    result: list[str] = []
    margin = True  # whether the last line of text was there
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if line.strip():
            if margin and indent >= 4 and result and not result[-1].strip():
                result += [".. code-block:: none", ""]
            margin = indent == 0
        result.append(line)
    return result


def _lists_apart(lines: list[str]) -> list[str]:
    """An empty line before and after each list."""
    result: list[str] = []
    inside = None  # the indent of the list that this is in
    for line in lines:
        indent = len(line) - len(line.lstrip())
        item = line.lstrip().startswith("- ")
        begins = item and inside is None
        ends = inside is not None and line.strip() and indent <= inside and not item
        if (begins or ends) and result and result[-1].strip():
            result.append("")
        inside = indent if item else None if ends else inside
        result.append(line)
    return result
