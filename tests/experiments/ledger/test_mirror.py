"""The ledger's mirror in git restores a ledger that was lost."""

import json

import pytest
from helpers.runs import empty_ledger, ledger_file, start_run

from common.errors import CaddieError
from experiments.ledger import mirror
from experiments.ledger.notes import PromotionAttempt
from experiments.ledger.store import Ledger
from experiments.repo.workspace import Workspace


def test_the_mirror_in_git_restores_a_ledger(repo_with_keep):
    path = ledger_file(repo_with_keep)
    ledger = Ledger(path)
    mirror.update(Workspace(repo_with_keep, "night"), ledger)
    rows = ledger.rows()
    ledger.close()
    empty_ledger(repo_with_keep)
    with pytest.raises(CaddieError, match=r"restore \. night` restores it from its mirror in git"):
        start_run(repo_with_keep)
    path.with_name("ledger.sqlite-wal").write_bytes(b"of the one that was lost")
    assert mirror.restore(repo_with_keep, "night", ".") == len(rows)
    assert path.with_name("ledger.sqlite-wal.lost").read_bytes() == b"of the one that was lost"
    start_run(repo_with_keep)
    ledger = Ledger(path)
    assert [row.val_bpb for row in ledger.rows()] == [row.val_bpb for row in rows]
    ledger.close()


def test_a_mirror_of_before_brings_the_state_of_promotions_back(repo_with_keep):
    """Earlier versions kept it in facts `record_N…`."""
    path, workspace = ledger_file(repo_with_keep), Workspace(repo_with_keep, "night")
    ledger = Ledger(path)
    mirror.update(workspace, ledger)
    facts = {"profile": ledger.fact("profile"), "record_1": "abc cpu 2.13", "record_1_looks": "3 5"}
    ledger.close()
    head = workspace.resolve(mirror.ref("night"))
    workspace.commit_files(mirror.ref("night"), {"facts.json": json.dumps(facts).encode()}, head, "as before")
    empty_ledger(repo_with_keep)
    mirror.restore(repo_with_keep, "night", ".")
    ledger = Ledger(path)
    assert ledger.promotion_attempt(1) == PromotionAttempt(1, environment="abc cpu 2.13", looks="3 5")
    assert ledger.fact("record_1") is None
    ledger.close()
