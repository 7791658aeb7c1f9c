"""Check of a record's README against its numbers: the headline, and the tables' scores of each seed and their mean.

Other numbers are ignored, as they may belong to earlier runs, baselines or parts of the evaluation.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from statistics import fmean

NAME = "README.md"
MAX_LINE = 2_000  # characters; longer lines are skipped
NUMBER = r"(?<![\d.])([1-4]\.\d{2,12}|0\.[5-9]\d{1,12})(?!\.?\d)"
# Between val_bpb and its number: nothing, something in brackets, or some words and a colon
OF = r"(?:\s{0,4}\([^)]{0,60}\)|[^|:=\d]{0,30}(?:\d[ -]seeds?[^|:=\d]{0,20})?[:=])?[\s:=]{0,4}"
SCORE = rf"val[\s_-]?bpb\b{OF}{NUMBER}"
IN_A_TITLE = re.compile(rf"{SCORE}|{NUMBER}\s{{0,4}}(?:val[\s_-]?)?bpb\b|\bscore\b[\s:=]{{1,4}}{NUMBER}", re.IGNORECASE)
BEGINNING = r"\W{0,8}(?:(?:score|result|final|mean|average|best|our|the|\d-seed)\b[\s:]{1,4}){0,4}"
OPENING = re.compile(rf"{BEGINNING}(?:{SCORE}|{NUMBER}\s{{0,4}}(?:val[\s_-]?)?bpb\b)", re.IGNORECASE)
HEADING, FENCE = re.compile(r"#{1,6}\s"), re.compile(r"\s{0,3}(```|~~~)")
HEADINGS = 2  # a headline's score is in one of the first two, or before the third
LINK = re.compile(r"\[([^\][]{0,200})\]\([^()\s]{0,500}\)")
SEED = re.compile(r"(?:seed\s{0,2}[=:]?\s{0,2})?(0|[1-9]\d{0,9})", re.IGNORECASE)
MEAN = re.compile(r"(\d-seed )?(mean|average|avg)\b", re.IGNORECASE)
RULE = re.compile(r"\|?(\s*:?-+:?\s*\|)+\s*(:?-+:?\s*)?")

Complain = Callable[[str, str, str, str], None]
Numbers = list[str]  # as written: their digits tell the precision


def check(text: str, val_bpb: float | None, seeds: Mapping[int, list[float]], complain: Complain) -> None:
    """Complain if the headline or a table disagrees with `val_bpb`, or with every score that a seed's log prints."""
    lines = list(prose(text))
    if val_bpb is not None:
        expected = f"val_bpb {val_bpb:.8g} of the JSON"
        if (scores := headline(lines)) and not any(agrees(number, val_bpb) for number in scores):
            complain("readme", NAME, f"val_bpb {' and '.join(scores[:4])} in its headline", expected)
        elif not scores and not any(agrees(number, val_bpb) for number in re.findall(NUMBER, plain_text(text))):
            complain("readme", NAME, "no number like it", expected)
    by_seed, means = tables(lines)
    for seed, numbers in by_seed.items():
        if (logged := seeds.get(seed)) and not any(agrees(number, score) for number in numbers for score in logged):
            got = f"{' or '.join(numbers[:4])} for seed {seed} in a table"
            complain("readme", NAME, got, f"{logged[-1]:.8g}, as its log says")
    expected_means = [*filter(None, [val_bpb]), *([fmean(scores[-1] for scores in seeds.values())] if seeds else [])]
    if (
        by_seed.keys() & seeds.keys()
        and means
        and not any(agrees(number, score) for number in means for score in expected_means)
    ):
        got = f"{' or '.join(means[:4])} as the mean in a table"
        complain("readme", NAME, got, f"{expected_means[0]:.8g}, the mean of its seeds")


def agrees(written: str, value: float) -> bool:
    """Return True if a written number is `value` rounded to its digits."""
    return abs(float(written) - value) <= 0.51 * 10.0 ** -len(written.partition(".")[2])


def plain_text(text: str) -> str:
    """Return Markdown without emphasis and overlong lines, with links as their text."""
    lines = (line for line in text.splitlines() if len(line) <= MAX_LINE)
    return "\n".join(LINK.sub(r"\1", re.sub(r"[*`\\]", "", line)) for line in lines)


def prose(text: str) -> Iterator[str]:
    """Yield the lines outside of code blocks as plain text."""
    fenced = False
    for line in text.splitlines():
        if FENCE.match(line):
            fenced = not fenced
        elif not fenced and len(line) <= MAX_LINE:
            yield plain_text(line)


def headline(lines: list[str]) -> Numbers:
    """Return the scores in the headline, as written; none if there is no headline with a score."""
    headings = 0
    for number, line in enumerate(lines):
        title = bool(HEADING.match(line))
        headings += title
        below = lines[number + 1].strip() if number + 1 < len(lines) else ""
        if headings > HEADINGS or ("|" in line and RULE.fullmatch(below)):
            return []
        if matches := list(IN_A_TITLE.finditer(line)) if title else [*filter(None, [OPENING.match(line)])]:
            return [next(number for number in match.groups() if number) for match in matches]
    return []


def tables(lines: list[str]) -> tuple[dict[int, Numbers], Numbers]:
    """Return the bits per byte that tables give for each seed, and for their mean; seeds may be rows or columns."""
    seeds: dict[int, Numbers] = {}
    means: Numbers = []

    def add(label: str, cells: list[str], named: bool) -> None:
        numbers = [number for cell in cells for number in re.findall(NUMBER, cell)]
        if (seed := SEED.fullmatch(label)) and (named or "seed" in label.lower()):
            seeds.setdefault(int(seed[1]), []).extend(numbers)
        elif MEAN.match(label):
            means.extend(numbers)

    for head, rows in _tables(lines):
        column = next((number for number, name in enumerate(head) if "seed" in name.lower()), 0)
        named = "seed" in head[column].lower() and not SEED.fullmatch(head[column])
        if any(SEED.fullmatch(cell) for cell in head[1:]):
            for row in rows:
                if "bpb" in row[0].lower():
                    for label, cell in zip(head[1:], row[1:], strict=False):
                        add(label, [cell], True)
            continue
        scores = [number for number, name in enumerate(head) if "bpb" in name.lower()]
        for row in rows if scores else ():
            cells = [row[number] for number in scores if number < len(row)]
            for position in {column, 0} if column < len(row) else {0}:
                add(row[position], cells, named and position == column)
    return {seed: numbers for seed, numbers in seeds.items() if numbers}, means


def _tables(lines: list[str]) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Yield the head and the rows of every Markdown table; the outer pipes are optional."""
    number = 0
    while number + 1 < len(lines):
        if "|" in lines[number] and RULE.fullmatch(lines[number + 1].strip()):
            end = number + 2
            while end < len(lines) and "|" in lines[end]:
                end += 1
            yield _cells(lines[number]), [_cells(line) for line in lines[number + 2 : end]]
            number = end
        else:
            number += 1


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
