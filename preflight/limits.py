"""The challenge's own numbers, and how large a proposal, a tree and a description may be: each stands here once."""

ARTIFACT_BYTES = 16_000_000  # decimal; code and compressed model together (challenge README FAQ)
TRAIN_SECONDS = 600.0  # on 8xH100 SXM
EVALUATION_SECONDS = 600.0  # in addition
RECORD_NATS = 0.005  # a record beats the one before by this much ...
RECORD_P_VALUE = 0.01  # ... at this significance
LATER_P_VALUE = 0.25  # maintainers' later practice, without a margin (openai/parameter-golf #1902, #2146)
RECORD_SEEDS = 3  # "enough logs (usually 3)"

PROPOSAL_FILES = 5
PROPOSAL_LINES = 300  # changed, added plus removed
PROPOSAL_BYTES = 64 * 1024  # of the lines that are added: all of base/ goes into a prompt
TREE_FILES = 200
FILE_BYTES = 256 * 1024
KNOBS = 512  # and what else a program says of itself: it stands in every row of the ledger
KNOB_NAME_CHARACTERS = 60
KNOB_VALUE_CHARACTERS = 200
KNOBS_BYTES = 64 * 1024
DESCRIPTION_BYTES = 1024 * 1024  # with every knob's words for people
