"""The p-values that submissions of the challenge claimed, each beside the one-sided Welch test of experiments/judge.py.

.venv/bin/python -m dev.benchmarks.pvalues ../shared/reference/pvalues.tsv
"""

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import typer

from preflight.significance import Sample, Welch, welch

MARGINS = (0.0, 0.005)  # the second as the README's rule, in whatever unit the row is
SUMMARY = re.compile(r"mean (\S+) sd (\S+) n (\d+)")


@dataclass(frozen=True)
class Claim:
    """A row of pvalues.tsv: two samples as they were printed, and what was claimed of them."""

    name: str
    new: tuple[str, ...]
    reference: tuple[str, ...]
    counts: tuple[int, int]  # 0 = the numbers are seeds; else they are mean and sd of so many
    claimed: dict[str, str]  # of p_value and t
    row: dict[str, str]

    def test(self, margin: float = 0.0, shift: tuple[int, float] = (0, 0.0)) -> Welch:
        """The test, with one printed number moved by `shift` if that is asked."""
        values = [float(text) for text in (*self.new, *self.reference)]
        values[shift[0]] += shift[1]
        new, reference = values[: len(self.new)], values[len(self.new) :]
        ours = Sample(new[0], new[1], self.counts[0]) if self.counts[0] else new
        if self.counts[1]:
            return welch(ours, Sample(reference[0], reference[1], self.counts[1]), margin)
        return welch(ours, reference if len(reference) > 1 else reference[0], margin)

    def rounding(self, name: str, margin: float) -> float:
        """How far a result can be off because every number was printed with so many digits."""
        exact = getattr(self.test(margin), name)
        halves = [unit(text) / 2 for text in (*self.new, *self.reference)]
        return sum(abs(getattr(self.test(margin, shift), name) - exact) for shift in enumerate(halves))

    def verdict(self) -> str:
        """Which of the claimed numbers the test gives, and with which margin."""
        if not self.claimed:
            return "no number claimed"
        by_margin = [{name for name in self.claimed if self.gives(name, margin)} for margin in MARGINS]
        best = max(range(len(MARGINS)), key=lambda i: len(by_margin[i]))
        told = f" with a margin of {MARGINS[best]}" if MARGINS[best] and by_margin[best] else ""
        right, missed = sorted(by_margin[best]), sorted(self.claimed.keys() - by_margin[best])
        if not right:
            return "**no correct test gives it**"
        return f"{', '.join(right)} reproduced{told}" + (f", not {', '.join(missed)}" if missed else "")

    def gives(self, name: str, margin: float) -> bool:
        """Within a unit of the claim's last digit, and what the inputs' own rounding allows."""
        claimed, found = float(self.claimed[name]), getattr(self.test(margin), name)
        if name == "t":
            claimed, found = abs(claimed), abs(found)
        return bool(abs(found - claimed) <= unit(self.claimed[name]) + self.rounding(name, margin))


def unit(text: str) -> float:
    """Of the last digit: 0.01 for 1.25."""
    mantissa, _, exponent = text.lower().partition("e")
    return float(10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2])))


def claims(path: Path) -> Iterator[Claim]:
    """Every row of the file."""
    with path.open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            new, own = printed(row["new"])
            reference, theirs = printed(row["ref"])
            if len(reference) == 1:
                reference = (precise(reference[0], row["against"]),)
            found = {"p_value": row["claim_p"], "t": matched(r"\bt=(-?[\d.]+\d)", row["claim_t"])}
            claimed = {name: text for name, text in found.items() if text}
            yield Claim(f"{row['pr']} against {row['against']}", new, reference, (own, theirs), claimed, row)


def printed(text: str) -> tuple[tuple[str, ...], int]:
    """`mean M sd S n N`, or the seeds."""
    match = SUMMARY.fullmatch(text.strip())
    return ((match[1], match[2]), int(match[3])) if match else (tuple(text.split()), 0)


def precise(rounded: str, against: str) -> str:
    """The same number with more digits, where the row's words have it."""
    near = [text for text in re.findall(r"\d+\.\d+", against) if abs(float(text) - float(rounded)) <= unit(rounded) / 2]
    return max([rounded, *near], key=len)


def matched(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else ""


def main(path: Path, say: Callable[[str], None] = typer.echo) -> None:
    """Each claim beside the test, as Markdown."""
    say("| claim | published | t | df | one-sided p | | note of the file |\n|---|---|---|---|---|---|---|")
    for claim in claims(path):
        found = claim.test()
        published = ", ".join(f"{name.partition('_')[0]} {text}" for name, text in claim.claimed.items())
        numbers = f"{found.t:.3f} | {found.df:.2f} | {found.p_value:.4g}"
        note = claim.row["note"] or "-"
        say(f"| {claim.name} | {published or claim.row['claim_t']} | {numbers} | {claim.verdict()} | {note} |")


if __name__ == "__main__":
    typer.run(lambda path: main(Path(path)))
