"""A record's README against its numbers: the headline, and what its tables say of each seed and of their mean.

Any other number may stand there for any reason: of runs before, of baselines, of parts of the evaluation.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from statistics import fmean

NAME = "README.md"
NUMBER = r"(?<![\d.])([1-4]\.\d{2,}|0\.[5-9]\d+)(?![\d.]*\d)"
HEADING = re.compile(r"#{1,6}\s")
SCORE = rf"val[\s_-]?bpb\b(?:\s*\([^)]*\))?[\s:=]{{0,4}}{NUMBER}"
IN_A_TITLE = re.compile(rf"{SCORE}|{NUMBER}\s*(?:val[\s_-]?)?bpb\b", re.IGNORECASE)
OPENING = re.compile(
    rf"\W*(?:(?:score|result|final|mean|average|best|our|the|\d+-seed)\b[\s:]*)*{SCORE}", re.IGNORECASE
)
SEED = re.compile(r"(?:seed\s*[=:]?\s*)?(0|[1-9]\d{0,9})", re.IGNORECASE)
MEAN = re.compile(r"(\d+-seed )?(mean|average|avg)\b", re.IGNORECASE)
RULE = re.compile(r"[\s|:-]+")
HEADINGS = 2  # the score of a headline stands in one of the first, or before the third

Complain = Callable[[str, str, str, str], None]
Numbers = list[str]  # as they are written: their digits say how exact they are


def check(text: str, val_bpb: float | None, seeds: Mapping[int, list[float]], complain: Complain) -> None:
    """Complain where headline or tables disagree with `val_bpb`, or with every score that a seed's log prints."""
    plain = re.sub(r"[*`\\]", "", text)
    if val_bpb is not None:
        expected = f"val_bpb {val_bpb:.8g} of the JSON"
        if (found := headline(plain)) and not agrees(found, val_bpb):
            complain("readme", NAME, f"val_bpb {found} in its headline", expected)
        elif not found and not any(agrees(number, val_bpb) for number in re.findall(NUMBER, plain)):
            complain("readme", NAME, "no number like it", expected)
    said, means = tables(plain)
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


def headline(text: str) -> str:
    """The score that a README opens with, as it is written; empty if there is none."""
    headings = 0
    for line in text.splitlines():
        title = bool(HEADING.match(line))
        headings += title
        if headings > HEADINGS or line.lstrip().startswith("|"):
            return ""
        if found := IN_A_TITLE.search(line) if title else OPENING.match(line):
            return next(number for number in found.groups() if number)
    return ""


def tables(text: str) -> tuple[dict[int, Numbers], Numbers]:
    """Bits per byte that tables give for each seed, and for their mean; seeds may stand in rows or in columns."""
    seeds: dict[int, Numbers] = {}
    means: Numbers = []

    def keep(label: str, cells: list[str]) -> None:
        numbers = [number for cell in cells for number in re.findall(NUMBER, cell)]
        if seed := SEED.fullmatch(label):
            seeds.setdefault(int(seed[1]), []).extend(numbers)
        elif MEAN.match(label):
            means.extend(numbers)

    for head, rows in _tables(text):
        if any(SEED.fullmatch(cell) for cell in head[1:]):
            for row in rows:
                if "bpb" in row[0].lower():
                    for label, cell in zip(head[1:], row[1:], strict=False):
                        keep(label, [cell])
        else:
            columns = [number for number, name in enumerate(head) if "bpb" in name.lower()]
            for row in rows if columns else ():
                keep(row[0], [row[number] for number in columns if number < len(row)])
    return {seed: numbers for seed, numbers in seeds.items() if numbers}, means


def _tables(text: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    """The head and the rows of every table in Markdown."""
    table: list[list[str]] = []
    for line in [*text.splitlines(), ""]:
        if line.strip().startswith("|"):
            table.append([cell.strip() for cell in line.strip().strip("|").split("|")])
            continue
        if len(table) > 2 and RULE.fullmatch("|".join(table[1])):
            yield table[0], table[2:]
        table = []
