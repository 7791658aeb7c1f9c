"""The edited tree: a trainer, a quantiser and a scorer for Parameter Golf. Proposals change files here."""
