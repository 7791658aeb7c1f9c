"""Every technique by name, as the knobs that switch it on in `pocket` (or off, if `pocket` has it).

`describe` prints this table; `python -m experiments toggles` smoke-tests and measures each entry alone.
"""

Table = dict[str, dict[str, str | int | float]]

NETWORK: Table = {
    # heads, tying, caps: on in every preset, so each is switched off alone
    "full_heads": {"num_kv_heads": 2},
    "untied_head": {"tie_embeddings": 0},
    "no_softcap": {"softcap": 0},
    "no_qk_norm": {"qk_norm": 0},
    "orthogonal_outputs": {"zero_projections": 0},
    "no_resid_mix": {"resid_mix": "none"},
    # MLP
    "relu2": {"leaky_slope": 0},
    "leaky_09": {"leaky_slope": 0.9},
    "star_relu": {"activation": "star_relu"},
    "swiglu": {"activation": "swiglu"},
    "wider_mlp": {"mlp_multiple": 4.0},
    "narrower": {"model_dim": 48},
    # positions and documents
    "partial_rope": {"rope_dims": 8},
    "rope_ntk": {"rope_scaling": "ntk", "rope_train_length": 64},
    "rope_yarn": {"rope_scaling": "yarn", "rope_train_length": 64},
    "pope": {"polar_positions": 1},
    "document_attention": {"document_attention": 1},
    # attention: values, gates, maps
    "vrl_additive": {"value_residual": "additive"},
    "vrl_convex": {"value_residual": "convex"},
    "vrl_softmax": {"value_residual": "softmax"},
    "value_embedding": {"ve_layers": "-2:", "ve_dim": 16},
    "value_gate": {"value_gate": 1},
    "xsa": {"xsa_layers": ":"},
    "gate_dense": {"attention_gate": "dense"},
    "gate_output": {"attention_gate": "output"},
    "gate_sparse": {"attention_gate": "sparse"},
    "differential": {"differential": 1},
    # embeddings
    "smear_vector": {"smear": "vector"},
    "smear_narrow": {"smear": "narrow", "smear_documents": 1},
    "bigram": {"bigram_buckets": 1024, "bigram_dim": 16},
    "engram": {"engram_buckets": 512, "engram_dim": 8},
    "wavelet": {"wavelet_dims": 32},
    # residual streams
    "phase_mix": {"resid_mix": "phase"},
    "ln_scale": {"ln_scale": 1},
    "hybrid_norm": {"hybrid_norm": 1},
    "skips_plain": {"unet_skips": "plain"},
    "skips_gated": {"unet_skips": "gated"},
    "backout": {"backout": 1},
    "hyper_connections": {"hyper_streams": 2},
    "parallel_single": {"parallel_residual": "single", "parallel_layers": "-2:"},
    "parallel_lanes": {"parallel_residual": "lanes", "parallel_layers": "-2:"},
    "recurrence": {"loop_passes": 2, "loop_first": 1, "loop_last": 1},
    # losses
    "tokens_ahead": {"mtp_heads": 1},
}

# Optimization and data: these leave the artifact's network unchanged.
TRAINING: Table = {
    # optimizer
    "polar_express": {"orthogonaliser": "polar_express"},
    "muon_rows": {"muon_row_norm": 1},
    "mousse": {"mousse": 1},
    "split_lr": {"late_layers": "-1:", "late_lr_scale": 1.2},
    "adamw_projections": {"adamw_projections": 1, "bigram_buckets": 1024, "bigram_dim": 16},
    "no_clipping": {"grad_clip": 0},
    # schedule and averages
    "fraction": {"warmdown": "fraction", "warmdown_share": 0.85, "lr_floor": 0.1},
    "wsd": {"warmdown": "wsd", "warmdown_share": 0.5},
    "swa": {"swa": "late", "swa_every": 10},
    "tight_swa": {"swa": "tight", "swa_every": 5, "swa_weight": 0.3, "swa_of_ema": 1},
    # Quantization-aware training, at 5 bits, where it matters. #576's and #962's logs show no recompile when their
    # flag for it flips: it was probably folded away and inert, so their numbers say nothing about QAT.
    "qat": {"matrix_bits": 5, "qat": "ste"},
    "soft_qat": {"matrix_bits": 5, "qat": "soft"},
    "crown_q": {"matrix_bits": 5, "crown_q": 100_000.0},
    # data
    "strided": {"order": "strided"},
    "packed": {"order": "packed"},
    "complementary": {"complementary_alpha": 0.5},
}

# Quantization and packing, which leave training unchanged.
EXPORT: Table = {
    "five_bits": {"matrix_bits": 5},
    "ternary": {"matrix_bits": 2, "clip_search": "hessian"},
    "mixed_bits": {"matrix_bits": 6, "bits_by_name": "mlp:5,blocks.0.:8"},
    "gptq": {"matrix_bits": 5, "rounding": "gptq"},
    "clip_percentile": {"matrix_bits": 5, "clip_search": "percentile"},
    "clip_hessian": {"matrix_bits": 5, "rounding": "gptq", "clip_search": "hessian"},
    "sd_clip": {"matrix_bits": 6, "matrix_clip_sigmas": 12.5, "embed_clip_sigmas": 20.0},
    "sd_clip_rows": {"matrix_bits": 6, "matrix_clip_sigmas": 12.5, "clip_row_share": 0.175},
    "bit_allocation": {"matrix_bits": 5, "rounding": "gptq", "bit_allocation": 1},
    "lqer": {"matrix_bits": 4, "lqer_matrices": 3},
    "mask_pruning": {"matrix_bits": 5, "rounding": "gptq", "prune_share": 0.05},
    "hadamard": {"matrix_bits": 5, "rotation": "hadamard"},
    "optrot": {"matrix_bits": 5, "rounding": "gptq", "rotation": "optrot"},
    "short_scales": {"scale_mantissa": 5, "scalar_bits": 16},
    "generated_text": {"matrix_bits": 5, "rounding": "gptq", "calibration": "generated"},
}

# Evaluation, which leaves the artifact unchanged.
EVALUATION: Table = {
    "stride_16": {"eval_stride": 16},
    "document_context": {"eval_documents": 1},
    "turbo_quant": {"kv_bits": 3},
    "temperature": {"temperature": 0.98},
    "online_bias": {"bias_rate": 0.001},
    "ngrams": {"ngram_order": 7, "ngram_smoothing": "witten_bell", "ngram_slots": 18},
    "agreement": {"agreement": "token,within_word,word_start", "agreement_slots": 18},
    "neighbors": {"knn_keys": 3000},
    "sgd_ttt": {"ttt": "sgd", "ttt_chunk": 2048, "ttt_lr": 0.005},
    "lora_ttt": {"ttt": "lora", "ttt_chunk": 2048, "ttt_lr": 0.003, "ttt_polyak": 0.9},
    "document_ttt": {"ttt": "documents", "ttt_chunk": 64, "ttt_lr": 0.003, "ttt_targets": "q,k,v,out,mlp,head"},
}
TECHNIQUES = {**NETWORK, **TRAINING, **EXPORT, **EVALUATION}
