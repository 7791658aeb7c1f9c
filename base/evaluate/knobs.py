"""Every knob of evaluation: read when an artifact is scored, so changing one needs no training."""

from dataclasses import dataclass

from base.knobs import Range, knob


@dataclass(frozen=True)
class Eval:
    # The window
    eval_length: int = knob(1024, "longest context of a scored token")
    eval_stride: int = knob(64, "tokens scored by one window")
    eval_batch: int = knob(32, "windows of one forward pass")
    eval_documents: bool = knob(False, "attention stays inside a token's document, however the model was trained")
    kv_bits: int = knob(0, "bits of attention keys in scoring, by TurboQuant; 0 = as computed (arXiv 2504.19874)")
    # Calibration
    temperature: float = knob(1.0, "logits are divided by it", Range(0.8, 1.2))
    bias_rate: float = knob(0.0, "online bias of logits: share of the newest chunk in its means; 0 = none (#962)")
    eval_chunk: int = knob(4096, "tokens after which the online bias and the neighbors learn from them")
    # Online n-grams
    ngram_order: int = knob(0, "longest n-gram counted in the scored text, 2 to 9; 0 = none")
    ngram_smoothing: str = knob("dirichlet", "back-off", choices=("dirichlet", "witten_bell", "kneser_ney"))
    ngram_strength: float = knob(4.0, "dirichlet: weight of the shorter context; kneser_ney: discount, at most 1")
    ngram_least: int = knob(2, "how often the longest context must have come; its length sets the weight")
    ngram_weight_low: float = knob(0.0, "weight of the n-grams where the model is certain")
    ngram_weight_high: float = knob(0.1, "and where its entropy is far above the order's center")
    ngram_centers: str = knob("4.5,4.2,3.8,3.5,3.2,3,2.75,2.5", "entropy in nats half way, orders 2 to 9 (#850)")
    ngram_multipliers: str = knob("0.3,0.3,1,2,2,2,2,2", "of the weight, orders 2 to 9 (#850)")
    ngram_slots: int = knob(20, "log2 of the contexts kept of each order: 24 bytes a context, 32 for followers")
    # Agreement of n-grams
    agreement: str = knob("", "experts whose hint is tilted up: token, within_word, word_start")
    agreement_order: int = knob(16, "tokens of an n-gram of the token expert, the hint included")
    agreement_gates: str = knob("0.8,0.45,0.65", "share of a context's followers that a hint must have (#1302)")
    agreement_boosts: str = knob("2.625,0.75,0.75", "nats by which its logit is raised (#1302)")
    agreement_bonus: float = knob(0.5, "more where two experts agree")
    agreement_least: int = knob(1, "how often a hint's context must have come")
    agreement_slots: int = knob(
        20, "log2 of the contexts that each expert keeps, 18 bytes each: more than tokens to come"
    )
    # Neighbors
    knn_keys: int = knob(0, "hidden states kept for the nearest-neighbor mixture; 0 = none (arXiv 1911.00172)")
    knn_neighbors: int = knob(32, "neighbors that count")
    knn_temperature: float = knob(50.0, "their weights are exp(-d^2 / it)")
    knn_weight: float = knob(0.02, "share of the mixture")
    knn_mixing: str = knob(
        "constant",
        "what scales the share: the model's entropy over ln V, or exp(-d^2 / temperature) of the nearest",
        choices=("constant", "entropy", "distance"),
    )
    # Test-time training
    ttt: str = knob(
        "none",
        "learn from scored text: all weights by SGD, or adapters over the stream, or adapters afresh in each document",
        choices=("none", "sgd", "lora", "documents"),
    )
    ttt_chunk: int = knob(32_768, "tokens that are scored, then learnt from")
    ttt_epochs: int = knob(1, "passes over a scored chunk")
    ttt_batch: int = knob(32, "sequences of one step; documents: that are scored at once")
    ttt_lr: float = knob(0.002, "learning rate")
    ttt_horizon: int = knob(
        0, "chunks over which it falls to 0 along a cosine, in documents from the start of each; 0 = never"
    )
    ttt_momentum: float = knob(0.9, "of SGD")
    ttt_beta2: float = knob(0.99, "of AdamW, whose beta1 is 0 in documents, 0.9 over the stream")
    ttt_weight_decay: float = knob(0.0, "of AdamW")
    ttt_clip: float = knob(1.0, "largest norm of a gradient; 0 = any")
    ttt_rank: int = knob(8, "of adapters")
    ttt_scale: float = knob(1.0, "adapters are multiplied by it")
    ttt_targets: str = knob("q,v", "maps with an adapter: q, k, v, out, mlp, head")
    ttt_layers: str = knob(":", "layers with an adapter, as slices (#850: '9,10')")
    ttt_polyak: float = knob(0.0, "decay of the mean of adapters that scores, over steps; 0 = the last ones")
    ttt_phases: str = knob("", "documents: after so many, all weights learn from them by SGD: '833,1666,2500'")
    ttt_phase_lr: float = knob(0.001, "learning rate of that, along a cosine to 0")
