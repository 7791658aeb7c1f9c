"""A record's README against its numbers: the headline, and what its tables say of each seed and of their mean.

Any other number may stand there for any reason: of runs before, of baselines, of parts of the evaluation.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from statistics import fmean

NAME = "README.md"
LONGEST_LINE = 2_000  # of one that is read
NUMBER = r"(?<![\d.])([1-4]\.\d{2,12}|0\.[5-9]\d{1,12})(?!\.?\d)"
# Between the word and its number: nothing, something in brackets, or some words and a colon
OF = r"(?:\s{0,4}\([^)]{0,60}\)|[^|:=\d]{0,30}(?:\d[ -]seeds?[^|:=\d]{0,20})?[:=])?[\s:=]{0,4}"
SCORE = rf"val[\s_-]?bpb\b{OF}{NUMBER}"
IN_A_TITLE = re.compile(rf"{SCORE}|{NUMBER}\s{{0,4}}(?:val[\s_-]?)?bpb\b|\bscore\b[\s:=]{{1,4}}{NUMBER}", re.IGNORECASE)
BEGINNING = r"\W{0,8}(?:(?:score|result|final|mean|average|best|our|the|\d-seed)\b[\s:]{1,4}){0,4}"
OPENING = re.compile(rf"{BEGINNING}(?:{SCORE}|{NUMBER}\s{{0,4}}(?:val[\s_-]?)?bpb\b)", re.IGNORECASE)
HEADING, FENCE = re.compile(r"#{1,6}\s"), re.compile(r"\s{0,3}(```|~~~)")
HEADINGS = 2  # the score of a headline stands in one of the first, or before the third
LINK = re.compile(r"\[([^\][]{0,200})\]\([^()\s]{0,500}\)")
SEED = re.compile(r"(?:seed\s{0,2}[=:]?\s{0,2})?(0|[1-9]\d{0,9})", re.IGNORECASE)
MEAN = re.compile(r"(\d-seed )?(mean|average|avg)\b", re.IGNORECASE)
RULE = re.compile(r"\|?(\s*:?-+:?\s*\|)+\s*(:?-+:?\s*)?")

Complain = Callable[[str, str, str, str], None]
Numbers = list[str]  # as they are written: their digits say how exact they are


def check(text: str, val_bpb: float | None, seeds: Mapping[int, list[float]], complain: Complain) -> None:
    """Complain where headline or tables disagree with `val_bpb`, or with every score that a seed's log prints."""
    lines = list(prose(text))
    if val_bpb is not None:
        expected = f"val_bpb {val_bpb:.8g} of the JSON"
        if (found := headline(lines)) and not any(agrees(number, val_bpb) for number in found):
            complain("readme", NAME, f"val_bpb {' and '.join(found[:4])} in its headline", expected)
        elif not found and not any(agrees(number, val_bpb) for number in re.findall(NUMBER, text_of(text))):
            complain("readme", NAME, "no number like it", expected)
    said, means = tables(lines)
    for seed, numbers in said.items():
        if (its := seeds.get(seed)) and not any(agrees(number, score) for number in numbers for score in its):
            got = f"{' or '.join(numbers[:4])} for seed {seed} in a table"
            complain("readme", NAME, got, f"{its[-1]:.8g}, as its log says")
    whole = [*filter(None, [val_bpb]), *([fmean(scores[-1] for scores in seeds.values())] if seeds else [])]
    if said.keys() & seeds.keys() and means and not any(agrees(number, score) for number in means for score in whole):
        got = f"{' or '.join(means[:4])} as the mean in a table"
        complain("readme", NAME, got, f"{whole[0]:.8g}, the mean of its seeds")


def agrees(written: str, value: float) -> bool:
    """Whether a number is `value`, rounded to the digits that it is written with."""
    return abs(float(written) - value) <= 0.51 * 10.0 ** -len(written.partition(".")[2])


def text_of(text: str) -> str:
    """The words of a README without marks of emphasis, links as their text, lines that nobody reads left out."""
    lines = (line for line in text.splitlines() if len(line) <= LONGEST_LINE)
    return "\n".join(LINK.sub(r"\1", re.sub(r"[*`\\]", "", line)) for line in lines)


def prose(text: str) -> Iterator[str]:
    """Its lines outside of blocks of code, as `text_of` gives them."""
    fenced = False
    for line in text.splitlines():
        if FENCE.match(line):
            fenced = not fenced
        elif not fenced and len(line) <= LONGEST_LINE:
            yield text_of(line)


def headline(lines: list[str]) -> Numbers:
    """The scores in the line that a README opens with, as they are written; none if there is no such line."""
    headings = 0
    for number, line in enumerate(lines):
        title = bool(HEADING.match(line))
        headings += title
        below = lines[number + 1].strip() if number + 1 < len(lines) else ""
        if headings > HEADINGS or ("|" in line and RULE.fullmatch(below)):
            return []
        if found := list(IN_A_TITLE.finditer(line)) if title else [one for one in [OPENING.match(line)] if one]:
            return [next(number for number in one.groups() if number) for one in found]
    return []


def tables(lines: list[str]) -> tuple[dict[int, Numbers], Numbers]:
    """Bits per byte that tables give for each seed, and for their mean; seeds may stand in rows or in columns."""
    seeds: dict[int, Numbers] = {}
    means: Numbers = []

    def keep(label: str, cells: list[str], named: bool) -> None:
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
                        keep(label, [cell], True)
            continue
        scores = [number for number, name in enumerate(head) if "bpb" in name.lower()]
        for row in rows if scores else ():
            cells = [row[number] for number in scores if number < len(row)]
            for place in {column, 0} if column < len(row) else {0}:
                keep(row[place], cells, named and place == column)
    return {seed: numbers for seed, numbers in seeds.items() if numbers}, means


def _tables(lines: list[str]) -> Iterator[tuple[list[str], list[list[str]]]]:
    """The head and the rows of every table in Markdown; the lines at its sides may be left out."""
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
