"""A slow reference of the presets' networks: one row of tokens, position by position, from the weights alone."""

import math

import torch

LOOPED_ORDER = [0, 1, 2, 3, 4, 5, 3, 4, 5, 3, 4, 5, 6, 7, 8, 9, 10]


@torch.no_grad()
def reference_logits(config, weights, tokens):
    """Return the logits of one row (T,), loop by loop: techniques.md 8.1, and 5g for the challenge.

    Args:
        config: a preset at pocket width.
        weights: the state dict of its network.
        tokens: one row (T,).
    """
    return ReferenceGPT(config, weights, tokens).logits()


def rms(x):
    return x / (x.square().mean(-1, keepdim=True) + torch.finfo(torch.float32).eps).sqrt()


class ReferenceGPT:
    """One forward pass; x0 and the first layer's values are computed once, as every layer reads them."""

    def __init__(self, config, weights, tokens):
        self.model, self.embed = config.model, config.embed
        self.attention, self.residual = config.attention, config.residual
        self.weights, self.tokens = weights, tokens
        self.layers, self.dim, self.length = config.model.num_layers, config.model.model_dim, len(tokens)
        self.heads, self.kv_heads = config.model.num_heads, config.model.num_kv_heads
        self.head_dim = self.dim // self.heads
        self.x0 = self.embeddings()
        read = weights["streams.reads"][0, 0] if self.residual.hyper_streams else 1.0  # #738: of the first layer
        self.first_values = rms(self.mix_x0(0, read * self.x0)) @ self.part(0, "attention.v.weight").T

    def part(self, layer, name):
        return self.weights[f"blocks.{layer}.{name}"]

    def embeddings(self):
        w, embed, tokens = self.weights, self.embed, self.tokens
        x = w["embedding"][tokens]
        if embed.smear == "narrow":
            previous = torch.cat((torch.zeros(1, self.dim), x[:-1])) * (tokens != 1)[:, None]
            x = x + (w["smear.strength"] * torch.sigmoid(x[:, :12] @ w["smear.weight"]))[:, None] * previous
        if embed.bigram_buckets:
            last = embed.bigram_buckets - 1
            pairs = zip(tokens[:-1], tokens[1:], strict=True)
            buckets = [last] + [((36313 * int(b)) ^ (27191 * int(a))) % last for a, b in pairs]
            x = x + w["bigram.scale"] * (w["bigram.table"][buckets] @ w["bigram.projection.weight"].T)
        x = rms(x)
        if embed.smear == "vector":
            gate = torch.sigmoid(w["smear.gate"])
            x = (1 - gate) * x + gate * torch.cat((torch.zeros(1, self.dim), x[:-1]))
        return x

    def mix_x0(self, layer, x):
        return self.part(layer, "mix") * x + self.part(layer, "mix_first") * self.x0

    def rotate(self, x, position):
        rope, base = self.attention.rope_dims, self.attention.rope_base
        if self.attention.rope_scaling == "ntk":
            base *= 2.0 ** (rope / (rope - 2))
        out = x.clone()
        for j in range(rope // 2):
            angle = position * base ** (-2 * j / rope)
            x1, x2 = x[j], x[j + rope // 2]
            out[j] = x1 * math.cos(angle) + x2 * math.sin(angle)
            out[j + rope // 2] = x2 * math.cos(angle) - x1 * math.sin(angle)
        return out

    def values(self, layer, h):
        v = h @ self.part(layer, "attention.v.weight").T
        if layer >= self.layers - 2 and self.attention.ve_layers:
            table, projection = self.weights["value_embedding.table"], self.weights["value_embedding.projection.weight"]
            embedded = table[self.tokens] @ projection.T
            v = v + self.part(layer, "attention.embedding_gain") * self.weights["value_embedding.scale"] * embedded
        if layer and self.attention.value_residual == "additive":
            v = v + torch.sigmoid(self.part(layer, "attention.value_residual.mix")) * self.first_values
        if layer and self.attention.value_residual == "softmax":
            first, own = self.part(layer, "attention.value_residual.mix").softmax(0)
            v = first * self.first_values + own * v
        return v.view(self.length, self.kv_heads, self.head_dim)

    def attention_out(self, layer, h):
        q = (h @ self.part(layer, "attention.q.weight").T).view(self.length, self.heads, self.head_dim)
        k = (h @ self.part(layer, "attention.k.weight").T).view(self.length, self.kv_heads, self.head_dim)
        v = self.values(layer, h)
        y = torch.zeros(self.length, self.heads, self.head_dim)
        for head in range(self.heads):
            group = head // (self.heads // self.kv_heads)
            gain = self.part(layer, "attention.gain")[head]
            queries = [self.rotate(rms(q[t, head]), t) * gain for t in range(self.length)]
            keys = [self.rotate(rms(k[t, group]), t) for t in range(self.length)]
            for t in range(self.length):
                scores = torch.stack([queries[t] @ keys[s] for s in range(t + 1)]) / self.head_dim**0.5
                y[t, head] = scores.softmax(0) @ v[: t + 1, group]
                if self.attention.xsa_layers == ":" or layer >= self.layers - 4:
                    own = v[t, group] / v[t, group].norm()
                    y[t, head] = y[t, head] - (y[t, head] @ own) * own
        y = y * self.head_gates(layer, h)
        out = y.reshape(self.length, self.dim) @ self.part(layer, "attention.out.weight").T
        return self.part(layer, "attention_gain") * out

    def head_gates(self, layer, h):
        if self.attention.attention_gate == "dense":
            z = h @ self.part(layer, "attention.gate.weight").T + self.part(layer, "attention.gate.bias")
            return torch.sigmoid(z)[:, :, None]
        if self.attention.attention_gate == "sparse":
            return torch.sigmoid(0.5 * h[:, :12] @ self.part(layer, "attention.gate.weight").T)[:, :, None]
        return 1.0

    def mlp_out(self, layer, h):
        u = h @ self.part(layer, "mlp.up.weight").T
        u = torch.where(u > 0, u, self.model.leaky_slope * u) ** 2
        return self.part(layer, "mlp_gain") * (u @ self.part(layer, "mlp.down.weight").T)

    def block(self, layer, x):
        scale = 1 / math.sqrt(layer + 1)
        x = self.mix_x0(layer, x)
        x = x + self.attention_out(layer, rms(x) * scale)
        return x + self.mlp_out(layer, rms(x) * scale)

    def skip(self, join, x, saved):
        skip = self.weights[f"skips.weight.{join}"] * saved
        if self.residual.unet_skips != "gated":
            return x + skip
        gate = torch.sigmoid(self.weights[f"skips.gate.{join}"])
        return gate * x + (1 - gate) * skip

    def two_lanes(self, layer, x, lane):
        scale = 1 / math.sqrt(layer + 1)
        attention_out = self.attention_out(layer, rms(self.mix_x0(layer, x)) * scale)
        mlp_out = self.mlp_out(layer, rms(lane) * scale)
        keep, post = self.weights[f"lanes.{layer}.keep"], self.weights[f"lanes.{layer}.post"]
        return (
            keep[0] * x + post[0] * attention_out + post[2] * mlp_out,
            keep[1] * lane + post[1] * attention_out + post[3] * mlp_out,
        )

    def hyper_connected(self, layer, x):
        layer_input = self.weights["streams.reads"][layer, 0] * x
        return x + self.weights["streams.writes"][layer, 0] * (self.block(layer, layer_input) - layer_input)

    def logits(self):
        order = LOOPED_ORDER if self.residual.loop_passes == 3 else list(range(self.layers))
        half, saved, lane, x = len(order) // 2, [], None, self.x0
        two_lanes = self.layers - 3 if self.residual.parallel_residual == "lanes" else self.layers
        joins = 0
        for step, layer in enumerate(order):
            if layer == two_lanes:
                lane = x  # both lanes start as x; the skip goes into the first alone (techniques A22)
            if step >= half and saved:
                x = self.skip(joins, x, saved.pop())
                joins += 1
            if layer >= two_lanes:
                x, lane = self.two_lanes(layer, x, lane)
            else:
                x = self.hyper_connected(layer, x) if self.residual.hyper_streams else self.block(layer, x)
            if step < half:
                saved.append(x)
        x = x if lane is None else (x + lane) / 2
        return 30 * torch.tanh(rms(x) @ self.weights["embedding"].T / 30)
