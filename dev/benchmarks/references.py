"""Compare the presets with their sources' own code, at full size and with mapped weights: logits and gradients.

python -m dev.benchmarks.references REPOSITORY        a clone of openai/parameter-golf that has refs/pull/N/head

Nothing of the sources is stored: each script is read from git and run as a module, with torch's own kernel in place of
FlashAttention. Both networks get the same new weights, every parameter moved away from its initial value.
"""

import argparse
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from base.model.gpt import GPT
from base.model.layers import initialize
from base.presets import PRESETS

TOKENS, LAYERS, SKIPS = 2048, 11, 5  # the sources scale their rotary angles with the sequence length
UNUSED = ("blocks.0.vr_lambda",)  # the first layer has no earlier values
RENAMED = (  # parameters that differ only by name, from theirs to ours
    (r"^tok_emb\.weight$", "embedding"),
    (r"^ve_shared\.", "value_embedding."),
    (r"^(bigram|value_embedding)\.embed\.weight$", r"\1.table"),
    (r"^(bigram|value_embedding)\.proj\.", r"\1.projection."),
    (r"\.attn_scale$", ".attention_gain"),
    (r"\.mlp_scale$", ".mlp_gain"),
    (r"\.attn\.q_gain$", ".attention.gain"),
    (r"\.attn\.attn_gate\.", ".attention.gate."),
    (r"\.attn\.c_([qkv])\.", r".attention.\1."),
    (r"\.attn\.proj\.", ".attention.out."),
    (r"\.mlp\.fc\.", ".mlp.up."),
    (r"\.mlp\.proj\.", ".mlp.down."),
    (r"\.vr_lambda$", ".attention.value_residual.mix"),
)
BANKS = {
    "qo_bank": ("attention.q", "attention.out"),
    "kv_bank": ("attention.k", "attention.v"),
    "mlp_up_bank": ("mlp.up",),
    "mlp_down_bank": ("mlp.down",),
}
COMMON: dict[str, Any] = {
    "vocab_size": 1024,
    "num_layers": LAYERS,
    "model_dim": 512,
    "num_heads": 8,
    "num_kv_heads": 4,
    "mlp_mult": 3.0,
    "tie_embeddings": True,
    "tied_embed_init_std": 0.005,
    "logit_softcap": 30.0,
    "rope_base": 1e4,
    "qk_gain_init": 1.5,
    "bigram_vocab_size": 2048,
    "xsa_last_n": 11,
    "rope_dims": 16,
    "ln_scale": True,
    "ve_enabled": True,
}
WIDE: dict[str, Any] = {"num_kv_heads": 8, "mlp_mult": 3.5}
SPECIFIC: dict[int, dict[str, Any]] = {
    569: {"backout_enabled": False},
    576: {**WIDE, "bigram_vocab_size": 8192},
    738: {"backout_enabled": False, "shc_n": 0, "ddl_enabled": False},
    850: {"bigram_vocab_size": 4096, "xsa_last_n": 4, "vrl_enabled": True, "gated_attn": True},
    962: {**WIDE, "bigram_vocab_size": 0},
    1302: {"bigram_vocab_size": 2816, "bigram_dim": 160},
}


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repository", type=Path)
    repository = parser.parse_args().repository
    torch.set_num_threads(1)
    print("| preset | parameters | largest logit difference | of logits up to |", end=" ")
    print("largest gradient difference, as a share of its tensor's largest |\n| --- | --- | --- | --- | --- |")
    for number, arguments in SPECIFIC.items():
        theirs = load(repository, number).GPT(**COMMON, **arguments)
        print("| " + " | ".join(compare(number, theirs)) + " |", flush=True)


def load(repository: Path, number: int) -> types.ModuleType:
    """Return the training script of a pull request, as a module."""
    head = f"refs/pull/{number}/head"

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(repository), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    changed = git("diff", "--name-only", git("merge-base", head, "HEAD").strip(), head).splitlines()
    script = next(name for name in changed if name.endswith("/train_gpt.py"))
    sys.modules["brotli"] = types.ModuleType("brotli")  # for its artifact, which is not built here
    sys.modules["flash_attn_interface"] = types.SimpleNamespace(flash_attn_func=attention)  # type: ignore[assignment]
    module = types.ModuleType(f"reference{number}")
    sys.modules[module.__name__] = module
    exec(compile(git("show", f"{head}:{script}"), script, "exec"), module.__dict__)  # its annotations name the module
    return module


def attention(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # heads first
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True).transpose(1, 2)


def compare(number: int, theirs: nn.Module) -> list[str]:
    """Return one row of the table."""
    ours = GPT(PRESETS[f"seed_{number}"]())
    initialize(ours, 1)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in ours.parameters():  # a mapping error would not show in weights that start at 0 or 1
            weight.add_(0.05 * torch.randn(weight.shape, generator=draw))
    weights = dict(ours.named_parameters())
    with torch.no_grad():
        for name, other in theirs.named_parameters():
            if name not in UNUSED:
                other.copy_(as_theirs(weights, name).reshape(other.shape))
    tokens = torch.randint(0, 1024, (1, TOKENS + 1), generator=draw)
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    logits = theirs.fwd_l if number == 850 else theirs.forward_logits
    with torch.no_grad():
        mine, other = ours.logits(ours.hidden(inputs)), logits(inputs) * getattr(theirs, "inference_temp", 1.0)
    ours(inputs, targets).backward()
    theirs(inputs, targets).backward()
    gradients, counted, worst = {name: weight.grad for name, weight in weights.items()}, 0, 0.0
    for name, twin in theirs.named_parameters():
        if name not in UNUSED:
            gap = as_theirs(gradients, name).reshape(twin.shape) - twin.grad
            worst, counted = max(worst, (gap.abs().max() / twin.grad.abs().max()).item()), counted + twin.numel()
    gap = (mine - other).abs().max()
    return [f"seed_{number}", f"{counted:,}", f"{gap:.1e}", f"{other.abs().max():.1f}", f"{worst:.1e}"]


def as_theirs(ours: dict[str, Tensor], name: str) -> Tensor:
    """Return our counterpart of their parameter `name`; raise KeyError if there is none."""
    index = int(match[1]) if (match := re.search(r"\.(\d+)", name)) else 0
    if name.startswith("skip_"):
        kind = "gate" if name == "skip_gates" else "weight"
        return torch.stack([ours[f"skips.{kind}.{join}"] for join in range(SKIPS)])
    if name in BANKS:
        return torch.stack([ours[f"blocks.{layer}.{part}.weight"] for part in BANKS[name] for layer in range(LAYERS)])
    if name.endswith(".resid_mix"):
        return torch.stack([ours[f"blocks.{index}.mix"], ours[f"blocks.{index}.mix_first"]])
    if name.startswith("ve_layer_scales."):
        return ours[f"blocks.{LAYERS - 2 + index}.attention.embedding_gain"]
    if name.startswith("vrl_alphas."):
        return ours[f"blocks.{index + 1}.attention.value_residual.mix"]
    if name.startswith("hc_"):
        return ours["streams.reads" if name.startswith("hc_alpha") else "streams.writes"][index]
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    return ours[name]


if __name__ == "__main__":
    main()
