"""The challenge's limits, and caddie's own on proposals, trees and program descriptions; each is defined only here."""

ARTIFACT_BYTES = 16_000_000  # decimal; code and compressed model together (challenge README FAQ)
TRAIN_SECONDS = 600.0  # on 8xH100 SXM
EVALUATION_SECONDS = 600.0  # in addition
RECORD_NATS = 0.005  # a record beats the previous one by at least this much ...
RECORD_P_VALUE = 0.01  # ... at this significance
LATER_P_VALUE = 0.25  # the maintainers' later practice, without a margin (openai/parameter-golf #1902, #2146)
TEXT_BYTES = 151_080_000  # of the challenge's validation text
TEXT_TOLERANCE = 1e-3  # relative
RECORD_SEEDS = 3  # "enough logs (usually 3)"

MOST_EXPECTED_BPB = 100.0  # of a difference that a proposal may expect
PROPOSAL_FILES = 5
PROPOSAL_LINES = 300  # added plus removed
PROPOSAL_BYTES = 64 * 1024  # of the added lines: all of base/ goes into a prompt
TREE_FILES = 200
FILE_BYTES = 256 * 1024
KNOBS = 512  # what a program says about itself is bounded: every row of the ledger holds it
KNOB_NAME_CHARACTERS = 60
KNOB_VALUE_CHARACTERS = 200
KNOBS_BYTES = 64 * 1024
DESCRIPTION_BYTES = 1024 * 1024  # with the human-readable description of every knob
