"""Configurations of published submissions, by the number of their pull request, with the methods in their correct form.

What each source does wrong, or claims and does not do, is said beside it (sources: dev/LOG.md, 2026-11-21).
"""

from dataclasses import replace

from base.config import Attention, Config, Data, Embed, Eval, Model, Optim, Quant, Residual


def seed_569() -> Config:
    """#569, 1.1175 bpb: 11 layers, VRL, XSA on all, smear, bigrams, VE128; the base of the later seeds."""
    return Config(
        data=Data(batch_tokens=786_432, sequence_length=2048),
        model=Model(num_layers=11, mlp_multiple=3.0),
        embed=Embed(smear="vector", bigram_buckets=2048, projection_gain=22**-0.5),
        attention=Attention(
            rope_dims=16, rope_scaling="ntk", xsa_layers=":", value_residual="additive", ve_layers="-2:"
        ),
        residual=Residual(resid_mix="phase", ln_scale=True, unet_skips="plain"),
        optim=Optim(muon_momentum=0.99, muon_momentum_start=0.92, muon_momentum_steps=1500, warmdown_iterations=3500),
        # Its search of percentiles compares weights after GPTQ, which that error says little of (C4); ours, outputs.
        quant=Quant(
            matrix_bits=6,
            bits_by_name="bigram:6,value_embedding:6",
            rounding="gptq",
            clip_search="hessian",
            scalar_bits=16,
            calibration_batches=16,
            reserve_seconds=24.0,
        ),
        eval=Eval(eval_length=2048),
    )


def seed_738() -> Config:
    """#738: #569 with one stream of static hyper-connections, 5-grams and neighbors.

    Its source mixes both in only where that helps the target; here the weights know the entropy, and each sums to one.
    """
    seed = seed_569()
    evaluation = replace(
        seed.eval, eval_stride=128, ngram_order=5, ngram_least=3, ngram_weight_high=0.3, ngram_slots=24,
        ngram_centers="3.5,3.5,3.5,3.5", ngram_multipliers="1,1,1,1", knn_keys=30_000, knn_weight=0.08,
    )  # fmt: skip
    return replace(seed, residual=replace(seed.residual, hyper_streams=1), eval=evaluation)


def seed_850() -> Config:
    """#850, about 1.162 bpb without its cache: slope .9, softmax VRL, dense gates, XSA on the last four layers.

    Its cache of 9-grams counts hashes of the target alone, which sum to hundreds; here by exact keys, with its weights.

    The second half of its layers does learn twice as fast here. Its soft rounding drifts away from the grid, ours
    converges to it.
    """
    seed = seed_569()
    return replace(
        seed,
        data=replace(seed.data, complementary_alpha=0.5),
        model=replace(seed.model, leaky_slope=0.9),
        embed=replace(seed.embed, bigram_buckets=4096),
        attention=replace(seed.attention, xsa_layers="-4:", value_residual="softmax", attention_gate="dense"),
        residual=replace(seed.residual, resid_mix="identity"),
        optim=replace(seed.optim, late_layers="5:", late_lr_scale=2.0, warmdown="wsd", warmdown_share=0.25),
        average=replace(seed.average, swa="tight", swa_weight=0.3, swa_of_ema=True),
        quant=replace(
            seed.quant, matrix_bits=5, bits_by_name="bigram:8,value_embedding:8", prune_share=0.03, qat="soft"
        ),
        eval=replace(
            seed.eval, temperature=0.98, ngram_order=9, ngram_weight_low=0.12, ngram_weight_high=0.6, ngram_slots=24,
            ttt="lora", ttt_chunk=65_536, ttt_lr=0.003, ttt_beta2=0.999, ttt_layers="9,10", ttt_polyak=0.998,
        ),
    )  # fmt: skip


def seed_962() -> Config:
    """#962: as many key as query heads and a wider MLP, 5 bits.

    Its QAT flag came on at step 1, but no step time in its logs shows a recompile: the flag was probably folded away,
    so QAT is off here. CROWN-Q's term is outside the compiled program and did run. Its mixture with n-grams of the
    training text is not a distribution and left out; its online bias of the logits is in.
    """
    seed = seed_569()
    return replace(
        seed,
        model=replace(seed.model, num_kv_heads=8, mlp_multiple=3.5),
        embed=replace(seed.embed, bigram_buckets=0),
        attention=replace(seed.attention, value_residual="none"),
        residual=replace(seed.residual, resid_mix="identity"),
        quant=replace(
            seed.quant,
            matrix_bits=5,
            bits_by_name="value_embedding:8",
            prune_share=0.05,
            qat_start=0.0,
            crown_q=0.01,
        ),
        eval=replace(seed.eval, bias_rate=0.001),
    )


def seed_576() -> Config:
    """#576, 1.1260 bpb before its rescoring: #962's shape with 8,192 bigrams and plain relu^2, 33.6 M parameters.

    Its logs print that source. QAT is off as in #962: its flag came on at step 4,457 of 6,204 (share .7185, lr below
    half) and the step time stayed 96.7 ms.
    """
    seed = seed_962()
    return replace(
        seed,
        model=replace(seed.model, leaky_slope=0.0),
        embed=replace(seed.embed, bigram_buckets=8192),
        quant=replace(seed.quant, qat_start=0.7185, crown_q=0.0),
        eval=replace(seed.eval, bias_rate=0.0),
    )


def seed_1302() -> Config:
    """#1302, 1.1106 bpb by sliding window: #1019's stack with gated skips, 2,816 bigrams of 160, n-gram agreement.

    Two of its experts read the class of the target; here of the hint.
    """
    seed = seed_569()
    return replace(
        seed,
        data=replace(seed.data, order="strided"),
        embed=replace(seed.embed, bigram_buckets=2816, bigram_dim=160, projection_gain=1.0),
        attention=replace(seed.attention, value_residual="none"),
        residual=replace(seed.residual, resid_mix="identity", unet_skips="gated"),
        optim=replace(seed.optim, matrix_lr=0.030, adamw_projections=True),
        eval=replace(seed.eval, agreement="token,within_word,word_start", agreement_slots=27),
    )
