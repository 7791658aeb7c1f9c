"""Every knob of a run: frozen dataclasses by section. The sections in ARCHITECTURE are stored in the artifact."""

from dataclasses import dataclass

from base.evaluate.knobs import Eval
from base.knobs import Range, knob


@dataclass(frozen=True)
class Run:
    seed: int = knob(1337, "keys every random draw, together with the draw's name")
    iterations: int = knob(20_000, "training steps")
    max_wallclock_seconds: float = knob(0.0, "stop training after this long; 0 = by iterations alone")
    compile: bool = knob(False, "torch.compile the training step and the scorer")
    fused_loss: bool = knob(False, "Triton kernel for the softcapped cross-entropy, on a GPU")
    fused_mlp: bool = knob(False, "Triton kernel for up-projection and LeakyReLU(s)^2 in training, on a GPU")
    log_every: int = knob(10, "steps between lines of metrics.jsonl")


@dataclass(frozen=True)
class Data:
    batch_tokens: int = knob(524_288, "tokens of one optimizer step, over all ranks")
    sequence_length: int = knob(1024, "tokens of one training sequence")
    micro_tokens: int = knob(98_304, "most tokens of one forward pass on one rank; a rank's share is cut to fit")
    order: str = knob("shuffled", "order of the shards' windows", choices=("shuffled", "strided", "packed"))
    complementary_alpha: float = knob(0.0, "lower weight of tokens that bigram counts predict; 0 = off (#803)")


@dataclass(frozen=True)
class Model:
    vocab_size: int = knob(1024, "rows of the embedding")
    num_layers: int = knob(9, "transformer blocks", Range(2, 12, joint=True))
    model_dim: int = knob(512, "width of the residual stream", Range(256, 768, step=64, joint=True))
    num_heads: int = knob(8, "query heads")
    num_kv_heads: int = knob(4, "key/value heads; fewer than num_heads is grouped-query attention")
    mlp_multiple: float = knob(2.0, "hidden width of the MLP over model_dim", Range(1.0, 4.0, step=0.5, joint=True))
    activation: str = knob("leaky_relu2", "of the MLP", choices=("leaky_relu2", "star_relu", "swiglu"))
    leaky_slope: float = knob(0.5, "LeakyReLU(s)^2; 0 = relu^2 (#493, #549)", Range(0.0, 0.9))
    zero_projections: bool = knob(True, "attention and MLP outputs start at 0, so that a block starts as identity")
    tie_embeddings: bool = knob(True, "one matrix is both embedding and output head")
    embed_std: float = knob(0.005, "initial standard deviation of the embedding", Range(0.001, 0.1, log=True))
    softcap: float = knob(30.0, "logits become c*tanh(z/c); 0 = uncapped", Range(8.0, 60.0, log=True))
    mtp_heads: int = knob(0, "heads that predict later tokens in training; not in the artifact")
    mtp_weight: float = knob(0.2, "weight of their mean loss, which the logged train_loss includes")


@dataclass(frozen=True)
class Embed:
    smear: str = knob(
        "none", "mix in the previous token: one gate per channel, or one (#1667)", choices=("none", "vector", "narrow")
    )
    smear_documents: bool = knob(False, "no smear across the start of a document (#1851)")
    bigram_buckets: int = knob(0, "rows of the hashed bigram table; 0 = none")
    bigram_dim: int = knob(128, "its width")
    projection_gain: float = knob(1.0, "of the orthogonal init of bigram and value projections (#569: 1/sqrt(22))")
    engram_buckets: int = knob(0, "rows of each hashed table of EngramLite; 0 = none (#1440)")
    engram_dim: int = knob(32, "width of each of its four tables")
    wavelet_dims: int = knob(0, "last channels that hold causal means of 2, 4, 8, ... tokens; 0 = none")
    wavelet_levels: int = knob(4, "the longest of these means is over 2^levels tokens")


@dataclass(frozen=True)
class Attention:
    qk_norm: bool = knob(True, "queries and keys of norm sqrt(Dh)")
    qk_gain: float = knob(1.5, "initial gain on queries, learned per head", Range(0.5, 6.0, log=True))
    rope_base: float = knob(10_000.0, "base of the rotary frequencies", Range(1_000.0, 100_000.0, log=True))
    rope_dims: int = knob(0, "channels of a head that are rotated; 0 = all (#315: 16 of 64)")
    rope_scaling: str = knob("none", "for contexts longer than rope_train_length", choices=("none", "ntk", "yarn"))
    rope_train_length: int = knob(1024, "context length that rope_base is for")
    polar_positions: bool = knob(False, "PoPE, with rope_base, instead of RoPE; on torch's own kernels")
    document_attention: bool = knob(False, "mask attention to other documents (#1530)")
    differential: bool = knob(False, "difference of two attention maps; on torch's own kernels")
    xsa_layers: str = knob(
        "", "layers with exclusive self attention, as slices: ':' all, '-4:' last four, '0,3' (#478)"
    )
    value_residual: str = knob(
        "none", "how the first layer's values are mixed in", choices=("none", "additive", "convex", "softmax")
    )
    ve_layers: str = knob("", "layers that read the value embedding, as slices (#374: '-2:')")
    ve_dim: int = knob(128, "its width")
    value_gate: bool = knob(False, "a sigmoid gate per value channel")
    attention_gate: str = knob("none", "gate on each head", choices=("none", "dense", "output", "sparse"))
    gate_window: int = knob(12, "first channels that the output and sparse gates read")


@dataclass(frozen=True)
class Residual:
    resid_mix: str = knob("identity", "initial mix of x and x0", choices=("none", "identity", "phase"))
    ln_scale: bool = knob(False, "normed inputs of layer l times 1/sqrt(l+1) (#315)")
    hybrid_norm: bool = knob(False, "norm of values and around the MLP instead of before attention")
    unet_skips: str = knob(
        "none", "skips from the first half of the layers to the second", choices=("none", "plain", "gated")
    )
    backout: bool = knob(False, "subtract a learned share of the middle layer's output (#478)")
    hyper_streams: int = knob(0, "streams of static hyper-connections; 0 = none")
    parallel_residual: str = knob("none", "attention and MLP in parallel", choices=("none", "single", "lanes"))
    parallel_layers: str = knob("-4:", "parallel layers, as slices; lanes run to the end")
    loop_passes: int = knob(1, "times the looped layers run; 1 = no recurrence (#1394)")
    loop_first: int = knob(3, "first looped layer")
    loop_last: int = knob(5, "last looped layer")
    loop_start: float = knob(0.35, "share of training after which the loop is on")


@dataclass(frozen=True)
class Optim:
    matrix_lr: float = knob(0.025, "Muon, for matrices", Range(0.005, 0.2, log=True))
    embed_lr: float = knob(0.035, "AdamW, for embedding tables", Range(0.003, 0.3, log=True))
    scalar_lr: float = knob(0.025, "AdamW, for gains, mixes and gates", Range(0.003, 0.3, log=True))
    weight_decay: float = knob(0.04, "decoupled, for matrices and tables", Range(0.0, 0.3))
    scalar_weight_decay: float = knob(0.04, "decoupled, for gains, mixes and gates", Range(0.0, 0.3))
    muon_momentum: float = knob(0.95, "Nesterov momentum of Muon", Range(0.8, 0.99))
    muon_momentum_start: float = knob(0.85, "momentum at step 0")
    muon_momentum_steps: int = knob(500, "steps until muon_momentum is reached", Range(50, 2000, log=True))
    newton_schulz_steps: int = knob(5, "iterations of the orthogonalization", Range(3, 7, joint=True))
    orthogonaliser: str = knob("newton_schulz", "its coefficients", choices=("newton_schulz", "polar_express"))
    muon_row_norm: bool = knob(False, "scale rows of Muon's momentum to norm 1 first (MuonEq-R, #1260)")
    mousse: bool = knob(False, "whiten Muon's updates by their curvature (arXiv 2603.09697)")
    parallel_muon: bool = knob(True, "divide the matrices among ranks; off: each does all (#399, #549)")
    late_layers: str = knob("", "layers whose matrices learn at matrix_lr * late_lr_scale, as slices (#850: '5:')")
    late_lr_scale: float = knob(1.0, "their learning rate over matrix_lr", Range(0.5, 2.0, log=True))
    adamw_projections: bool = knob(False, "bigram and value projections to AdamW, at scalar_lr (#1019)")
    beta1: float = knob(0.9, "AdamW", Range(0.7, 0.97))
    beta2: float = knob(0.95, "AdamW", Range(0.8, 0.999))
    grad_clip: float = knob(0.3, "global gradient norm; 0 = off", Range(0.0, 2.0))
    warmdown: str = knob("linear", "form of the decay of lr", choices=("linear", "fraction", "wsd"))
    warmdown_share: float = knob(0.75, "fraction, wsd: last share of training over which lr decays", Range(0.1, 1.0))
    lr_floor: float = knob(0.0, "lr never falls below this share of itself", Range(0.0, 0.2))
    warmdown_iterations: int = knob(
        1200, "last steps, or their time by wallclock, over which lr decays to 0", Range(300, 5000, log=True)
    )


@dataclass(frozen=True)
class Average:
    ema_decay: float = knob(
        0.997, "decay of the averaged weights that are exported; 0 = the last weights", Range(0.9, 0.9995)
    )
    swa: str = knob(
        "none", "snapshots to average: late in training, or while lr is low", choices=("none", "late", "tight")
    )
    swa_every: int = knob(50, "steps between snapshots")
    swa_share: float = knob(0.4, "late: last share of training that has snapshots")
    swa_lr_scale: float = knob(0.2, "tight: snapshots while lr is below this share of itself")
    swa_weight: float = knob(1.0, "of the snapshots' mean; the rest is the EMA's (#850: 0.3)")
    swa_of_ema: bool = knob(False, "snapshots of the EMA instead of the weights (#850)")


@dataclass(frozen=True)
class Quant:
    matrix_bits: int = knob(8, "bits of matrices, 2 to 8", Range(4, 8, joint=True))
    embed_bits: int = knob(8, "bits of embedding tables, 2 to 8", Range(4, 8, joint=True))
    matrix_clip_sigmas: float = knob(
        0.0, "a matrix row's grid ends at this many standard deviations; 0 = its largest weight"
    )
    embed_clip_sigmas: float = knob(0.0, "the same for embedding tables")
    bits_by_name: str = knob("", "bits of matrices whose name contains a text, the first wins: 'mlp:5,blocks.0.:8'")
    bit_allocation: bool = knob(False, "choose bits by expected loss, under the bytes that the bits above would take")
    rounding: str = knob("nearest", "gptq: later columns make up for errors", choices=("nearest", "gptq"))
    gptq_damping: float = knob(0.01, "share of the mean diagonal added to a Hessian", Range(0.001, 0.1, log=True))
    gptq_embedding: bool = knob(True, "use the Hessian of a tied embedding's outputs, as of any matrix")
    clip_search: str = knob(
        "none",
        "choose each row's clip: five percentiles by the weights' error, or eight shares by the outputs'",
        choices=("none", "percentile", "hessian"),
    )
    clip_row_share: float = knob(0.0, "how much wider rows are clipped that matter more (2026-04-06: 0.175)")
    scale_mantissa: int = knob(10, "bits of mantissa of a row's fp16 scale; fewer code to fewer bytes")
    scalar_bits: int = knob(32, "bits of gains, mixes and other floats", choices=(16, 32))
    prune_share: float = knob(0.0, "smallest weights of matrices that are zeroed before rounding", Range(0.0, 0.1))
    rotation: str = knob("none", "of a matrix's inputs; optrot tries signs", choices=("none", "hadamard", "optrot"))
    lqer_matrices: int = knob(0, "matrices of the largest expected loss, whose error is corrected in low rank")
    lqer_rank: int = knob(4, "its rank")
    fill_bytes: int = knob(0, "code and artifact: clips in standard deviations are scaled to fill them; 0 = as given")
    calibration: str = knob(
        "batches",
        "text for Hessians: training batches, or written by the model",
        choices=("none", "batches", "generated"),
    )
    calibration_batches: int = knob(4, "training batches that are run again for it, inside the clock")
    reserve_seconds: float = knob(8.0, "of max_wallclock_seconds, at most a tenth: for calibration and quantization")
    qat: str = knob(
        "none", "quantization-aware training: hard, straight-through rounding, or soft", choices=("none", "ste", "soft")
    )
    qat_start: float = knob(0.85, "share of training after which QAT and CROWN-Q start")
    crown_q: float = knob(0.0, "strength of CROWN-Q's penalty on wide rows (#962: 0.01, 1e-8 of the gradient)")


@dataclass(frozen=True)
class Pack:
    codecs: str = knob("mix,brotli,zstd,lzma", "codecs to choose from for each stream; mix is the coder of integers")


@dataclass(frozen=True)
class Config:
    run: Run = Run()
    data: Data = Data()
    model: Model = Model()
    embed: Embed = Embed()
    attention: Attention = Attention()
    residual: Residual = Residual()
    optim: Optim = Optim()
    average: Average = Average()
    quant: Quant = Quant()
    pack: Pack = Pack()
    eval: Eval = Eval()

    @property
    def sections(self) -> dict:
        """Every section by its name: base/ looks up no attribute by a computed name."""
        return {
            "run": self.run,
            "data": self.data,
            "model": self.model,
            "embed": self.embed,
            "attention": self.attention,
            "residual": self.residual,
            "optim": self.optim,
            "average": self.average,
            "quant": self.quant,
            "pack": self.pack,
            "eval": self.eval,
        }


ARCHITECTURE = ("model", "embed", "attention", "residual")
