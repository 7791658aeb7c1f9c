"""The challenge's own numbers, and how large a proposal or a tree may be: each stands here once."""

ARTIFACT_BYTES = 16_000_000  # decimal; code and compressed model together (challenge README FAQ)
TRAIN_SECONDS = 600.0  # on 8xH100 SXM
EVALUATION_SECONDS = 600.0  # in addition
RECORD_NATS = 0.005  # a record beats the one before by this much ...
RECORD_P_VALUE = 0.01  # ... at this significance
LATER_P_VALUE = 0.25  # maintainers' later practice, without a margin (openai/parameter-golf #1902, #2146)
RECORD_SEEDS = 3  # "enough logs (usually 3)"

PROPOSAL_FILES = 5
PROPOSAL_LINES = 300  # changed, added plus removed
TREE_FILES = 200
FILE_BYTES = 256 * 1024
