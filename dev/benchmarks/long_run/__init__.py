"""What people wait for on a long run: the answer of a command, and the report; with a made-up ledger of one."""
