"""A small model that tests of base/ share."""

from base.config import Config, Data, Eval, Model

SMALL = Config(
    data=Data(batch_tokens=256, sequence_length=64),
    model=Model(vocab_size=97, num_layers=2, model_dim=32, num_heads=4, num_kv_heads=2),
    eval=Eval(eval_length=64, eval_stride=16, eval_batch=4),
)


def drawn(config=SMALL, seed=1):
    from base.model.gpt import GPT
    from base.model.layers import initialise

    model = GPT(config)
    initialise(model, seed)
    return model


def stirred(config=SMALL, seed=1):
    """A model whose zero-initialised parts have woken up."""
    import torch

    model = drawn(config, seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)))
    return model


def stir(model):
    """The same, by a noise of its own for every parameter's name."""
    import torch

    from base.runtime import generator

    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator(2, name)))
    return model
