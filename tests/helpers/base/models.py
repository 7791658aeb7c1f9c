"""Small models for the tests of base/."""

from dataclasses import replace

from base.config import Config, Data, Eval, Model

SMALL = Config(
    data=Data(batch_tokens=256, sequence_length=64),
    model=Model(vocab_size=97, num_layers=2, model_dim=32, num_heads=4, num_kv_heads=2),
    eval=Eval(eval_length=64, eval_stride=16, eval_batch=4),
)


def initialized_model(config=SMALL, seed=1):
    from base.model.gpt import GPT
    from base.model.layers import initialize

    model = GPT(config)
    initialize(model, seed)
    return model


def perturbed_model(config=SMALL, seed=1):
    """Return an initialized model with noise on every parameter, so that zero-initialized parts take effect."""
    import torch

    model = initialized_model(config, seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)))
    return model


def perturb(model):
    """Add noise to every parameter in place, drawn by the parameter's name, and return the model."""
    import torch

    from base.runtime import generator

    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator(2, name)))
    return model


def small_config(**sections):
    """Return SMALL with some knobs of some sections changed."""
    return replace(SMALL, **{name: replace(SMALL.sections[name], **knobs) for name, knobs in sections.items()})


def initialized(module, seed=1):
    """Initialize a module in place and return it."""
    from base.model.layers import initialize

    initialize(module, seed)
    return module


def perturbed(module, seed=1):
    """Initialize a module in place, add noise to every parameter, and return it."""
    return perturb(initialized(module, seed))


def randn(*shape, seed=0):
    import torch

    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_close(actual, expected, atol=1e-5):
    import torch

    torch.testing.assert_close(actual, expected, atol=atol, rtol=1e-4)


def document_tokens(rows=2, length=96):
    """Return random tokens below 97 whose documents start at 0, 10 and 60 in every row."""
    import torch

    from base.model.attention.document_mask import BOS

    tokens = torch.randint(2, 97, (rows, length))
    tokens[:, [0, 10, 60]] = BOS
    return tokens
