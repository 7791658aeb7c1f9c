"""Compare the p-values that submissions of the challenge claimed with our one-sided Welch test.

.venv/bin/python -m dev.benchmarks.pvalues ../shared/reference/pvalues.tsv
"""

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import typer

from preflight.records.significance import Sample, Welch, welch

MARGINS = (0.0, 0.005)  # the second is the README's rule, in the unit of the row
SUMMARY = re.compile(r"mean (\S+) sd (\S+) n (\d+)")


@dataclass(frozen=True)
class Claim:
    """A row of pvalues.tsv: two samples as printed, and the numbers claimed for them."""

    name: str
    new: tuple[str, ...]
    reference: tuple[str, ...]
    counts: tuple[int, int]  # 0: the numbers are seeds; otherwise they are the mean and sd of this many
    claimed: dict[str, str]  # keys: p_value, t
    row: dict[str, str]

    def test(self, margin: float = 0.0, shift: tuple[int, float] = (0, 0.0)) -> Welch:
        """Return the test, with the printed number of index `shift[0]` moved by `shift[1]`."""
        values = [float(text) for text in (*self.new, *self.reference)]
        values[shift[0]] += shift[1]
        new, reference = values[: len(self.new)], values[len(self.new) :]
        ours = Sample(new[0], new[1], self.counts[0]) if self.counts[0] else new
        if self.counts[1]:
            return welch(ours, Sample(reference[0], reference[1], self.counts[1]), margin)
        return welch(ours, reference if len(reference) > 1 else reference[0], margin)

    def rounding(self, name: str, margin: float) -> float:
        """Return the largest error of a result that the rounding of the printed numbers can cause."""
        exact: float = getattr(self.test(margin), name)
        halves = [unit(text) / 2 for text in (*self.new, *self.reference)]
        return float(sum(abs(getattr(self.test(margin, shift), name) - exact) for shift in enumerate(halves)))

    def verdict(self) -> str:
        """Say which of the claimed numbers the test reproduces, and with which margin."""
        if not self.claimed:
            return "no number claimed"
        by_margin = [{name for name in self.claimed if self.reproduces(name, margin)} for margin in MARGINS]
        best = max(range(len(MARGINS)), key=lambda i: len(by_margin[i]))
        suffix = f" with a margin of {MARGINS[best]}" if MARGINS[best] and by_margin[best] else ""
        right, missed = sorted(by_margin[best]), sorted(self.claimed.keys() - by_margin[best])
        if not right:
            return "**no correct test gives it**"
        return f"{', '.join(right)} reproduced{suffix}" + (f", not {', '.join(missed)}" if missed else "")

    def reproduces(self, name: str, margin: float) -> bool:
        """Return true within one unit of the claim's last digit plus the error from the inputs' own rounding."""
        claimed, computed = float(self.claimed[name]), getattr(self.test(margin), name)
        if name == "t":
            claimed, computed = abs(claimed), abs(computed)
        return bool(abs(computed - claimed) <= unit(self.claimed[name]) + self.rounding(name, margin))


def unit(text: str) -> float:
    """Return the value of one unit in the last digit: 0.01 for 1.25."""
    mantissa, _, exponent = text.lower().partition("e")
    return float(10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2])))


def claims(path: Path) -> Iterator[Claim]:
    """Yield every row of the file."""
    with path.open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            new, new_count = printed(row["new"])
            reference, reference_count = printed(row["ref"])
            if len(reference) == 1:
                reference = (precise(reference[0], row["against"]),)
            texts = {"p_value": row["claim_p"], "t": matched(r"\bt=(-?[\d.]+\d)", row["claim_t"])}
            claimed = {name: text for name, text in texts.items() if text}
            counts = new_count, reference_count
            yield Claim(f"{row['pr']} against {row['against']}", new, reference, counts, claimed, row)


def printed(text: str) -> tuple[tuple[str, ...], int]:
    """Parse `mean M sd S n N`, or the values of the seeds."""
    match = SUMMARY.fullmatch(text.strip())
    return ((match[1], match[2]), int(match[3])) if match else (tuple(text.split()), 0)


def precise(rounded: str, against: str) -> str:
    """Return the same number with more digits if the row's text has them."""
    near = [text for text in re.findall(r"\d+\.\d+", against) if abs(float(text) - float(rounded)) <= unit(rounded) / 2]
    return max([rounded, *map(str, near)], key=len)


def matched(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    return match[1] if match else ""


def main(path: Path, write: Callable[[str], None] = typer.echo) -> None:
    """Write each claim next to the test, as Markdown."""
    write("| claim | published | t | df | one-sided p | | note of the file |\n|---|---|---|---|---|---|---|")
    for claim in claims(path):
        test = claim.test()
        published = ", ".join(f"{name.partition('_')[0]} {text}" for name, text in claim.claimed.items())
        numbers = f"{test.t:.3f} | {test.df:.2f} | {test.p_value:.4g}"
        note = claim.row["note"] or "-"
        write(f"| {claim.name} | {published or claim.row['claim_t']} | {numbers} | {claim.verdict()} | {note} |")


if __name__ == "__main__":
    typer.run(lambda path: main(Path(path)))
