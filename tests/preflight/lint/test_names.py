"""Tests of the names that base/ may use: no disguise of a refused one passes, and what an ordinary idea needs does."""

import pytest
from helpers.base_tree import BASE, with_file

from preflight import checks

# Each runs, loads, starts or opens something, or takes the first step to it, in a different way.
DISGUISES = {
    "exec": "exec('x = 1')",
    "eval in a default": "def f(x=eval('1')): ...",
    "eval in a decorator": "@eval\ndef f(): ...",
    "exec in an f-string": "f'{exec(1)!r:>{eval(2)}}'",
    "exec in a format": "f'{1:{exec(1)}}'",
    "exec in a comprehension": "[e('1') for e in (exec,)]",
    "exec in a lambda": "f = lambda e=exec: e('1')",
    "exec in a class body": "class A:\n    run = exec",
    "exec in a match": "match 1:\n    case x if exec('1'): ...",
    "exec behind a walrus": "(run := exec)('1')",
    "an alias": "e = compile\ne('1', '', 'exec')",
    "wide letters": "ｅｘｅｃ('1')",
    "__import__": "__import__('os')",
    "builtins under another name": "from builtins import exec as trace",
    "a module under another name": "import subprocess as numpy_helpers",
    "builtins by a string": "getattr(__builtins__, 'ex' + 'ec')",
    "builtins by an index": "__builtins__['exec']('1')",
    "builtins by a method": "print.__self__.exec('1')",
    "builtins by getattr": "getattr(print, '__self__')",
    "builtins of a function": "(lambda: 0).__globals__['__builtins__']",
    "getattr as a value": "list(map(getattr, [1], ['real']))",
    "getattr behind a partial": "from functools import partial\npartial(getattr, 1)('real')",
    "a computed name": "def f(x, name):\n    return getattr(x, name)",
    "a computed name set": "def f(x, name):\n    setattr(x, name, 1)",
    "starred arguments": "def f(a):\n    return getattr(*a)",
    "vars": "vars()['exec']",
    "globals": "globals()['exec']",
    "locals": "locals()",
    "__dict__": "def f(x):\n    return x.__dict__['run']",
    "attrgetter": "from operator import attrgetter",
    "methodcaller": "import operator\noperator.methodcaller('run')",
    "a formatter": "import string\nstring.Formatter().get_field('0.real', (1,), {})",
    "a star import": "from math import *",
    "an import under a try": "try:\n    import ctypes\nexcept ImportError:\n    pass",
    "an import in a function": "def f():\n    import pickle",
    "an import in a class": "class A:\n    from subprocess import run",
    "importlib": "import importlib",
    "runpy": "import runpy",
    "sys.modules": "import sys\nsys.modules['os']",
    "sys.settrace": "import sys\nsys.settrace(None)",
    "a frame": "import sys\nsys._getframe()",
    "gc": "import gc\ngc.get_objects()",
    "a traceback": "try:\n    pass\nexcept OSError as e:\n    e.__traceback__.tb_frame.f_builtins",
    "a generator's frame": "(x for x in ()).gi_frame.f_builtins",
    "a coroutine's frame": "async def f(): ...\nf().cr_frame",
    "a frame in a pattern": "def f(g):\n    match g:\n        case object(gi_frame=frame): return frame",
    "a pattern by position": "def f(g, P):\n    match g:\n        case P(frame): return frame",
    "threads traced": "import threading\nthreading.settrace(print)",
    "os.system": "import os\nos.system('id')",
    "os.fork": "from os import fork",
    "os under another name": "import os as o\no.execv('/bin/sh', [])",
    "os through another module": "import torch\ntorch.os.system('id')",
    "os through an alias": "import torch.nn.functional as F\nF.torch.os",
    "sys through an enum": "import enum\nenum.sys",
    "builtins of enum": "import enum\nenum.bltns.eval('1')",
    "builtins of lzma": "import lzma\nlzma.builtins.eval('1')",
    "codecs of json": "import json\njson.codecs.builtins",
    "a module of base": "from base import runtime\nruntime.torch.hub.load('x', 'y')",
    "a module taken from base": "from base.runtime import torch as t\nt.jit.load('x')",
    "a module as a value": "import torch\ndef f(m):\n    return m.hub\nf(torch)",
    "a module in a list": "import torch\n[torch][0].hub",
    "a submodule as a value": "import torch\nn = torch.nn\nn.modules",
    "a module of base as a value": "from base import runtime\nm = runtime\nm.torch.hub",
    "a module in a default": "import numpy as np\ndef f(m=np):\n    return m.testing",
    "_flavour": "from pathlib import Path\nPath._flavour.os",
    "socket": "import socket",
    "socket of the protocol": "from base.protocol import socket",
    "socket behind the protocol": "from base import protocol\nprotocol.socket.socket()",
    "asyncio": "import asyncio.subprocess",
    "urllib": "from urllib import request",
    "multiprocessing of torch": "import torch.multiprocessing",
    "processes": "from concurrent.futures import ProcessPoolExecutor",
    "processes by a dot": "import concurrent.futures\nconcurrent.futures.ProcessPoolExecutor",
    "pty": "import pty",
    "marshal": "import marshal",
    "pickle of torch": "import torch\ntorch.serialization.pickle",
    "torch.load": "import torch\ntorch.load('x')",
    "torch.load with pickle": "import torch\ntorch.load('x', weights_only=False)",
    "torch.load by stars": "import torch\ntorch.load('x', **{'weights_only': False}, weights_only=True)",
    "torch.load as a value": "import torch\nf = torch.load\nf('x')",
    "torch.load imported": "from torch import load\nload('x', weights_only=True)",
    "np.load with pickle": "import numpy as np\nnp.load('x', allow_pickle=True)",
    "np.load by position": "import numpy as np\nnp.load('x', None, True)",
    "np.load by stars": "import numpy as np\na = ('x', None, True)\nnp.load(*a)",
    "np.test": "import numpy as np\nnp.test(extra_argv=['x'])",
    "np.f2py": "import numpy.f2py",
    "np.ctypeslib": "import numpy as np\nnp.ctypeslib.load_library('x', '.')",
    "ctypes of an array": "import numpy as np\nnp.zeros(1).ctypes",
    "torch.package": "from torch import package",
    "torch.jit": "import torch\ntorch.jit.load('x')",
    "torch.hub": "import torch\ntorch.hub.load('x', 'y')",
    "torch.fx": "import torch.fx",
    "cpp_extension": "from torch.utils import cpp_extension",
    "inline code": "from torch.utils.cpp_extension import load_inline",
    "ops": "import torch\ntorch.ops.load_library('x')",
    "ops that import": "import torch\ntorch.ops.import_module('os')",
    "classes": "import torch\ntorch.classes.load_library('x')",
    "an allocator": "import torch\ntorch.cuda.memory.CUDAPluggableAllocator('x', 'y', 'z')",
    "objects between ranks": "import torch.distributed as dist\ndist.broadcast_object_list([1])",
    "torch's private side": "import torch\ntorch._C",
    "a custom backend": "import torch\ntorch.compile(print, backend=lambda g, x: g.forward)",
    "a backend by stars": "import torch\ntorch.compile(print, **{'backend': print})",
    "a custom pass": "def f(m):\n    m.compile(options={'post_grad_custom_post_pass': print})",
    "a backend behind an alias": "import torch\nf = torch.compile\nf(print, backend=print)",
    "a backend behind a partial": "import torch\nfrom functools import partial\npartial(torch.compile, backend=print)",
    "a backend of a model": "def f(m):\n    c = m.compile\n    c(backend=print)",
    "a backend by getattr": "def f(m, kw):\n    getattr(m, 'compile')(**kw)",
    "compile imported": "from torch import compile as c\ndef f(kw):\n    c(print, **kw)",
    "compile of base's torch": "from base import runtime\nf = runtime.torch.compile",
    "a module in a class": "class A:\n    import torch as t\nA.t.hub",
    "a module deep in a class": "class A:\n    if 1:\n        from torch import nn\nA.nn.modules",
    "generated code": "def f(g):\n    g.on_generate_code(print)",
    "a class by a call": "A = type('A', (), {})",
    "type as a value": "t = type\nt('A', (), {})",
    "type of a type": "def f(x):\n    return type(x)('A', (), {})",
    "type behind ==": "class C:\n    def __eq__(self, x):\n        self.x = x\ntype(C) == C()",
    "type in an annotation": "class A:\n    x: type[int]",
    "a metaclass": "import abc\nclass A(metaclass=abc.ABCMeta): ...",
    "fields by a call": "from dataclasses import make_dataclass",
    "a typed dict": "from typing import TypedDict",
    "annotations by name": "class A:\n    __annotations__ = {'x=exec': int}",
    "annotations as code": "def f(x: '__import__(1)'): ...",
    "annotations evaluated": "from typing import get_type_hints",
    "__subclasses__": "object.__subclasses__()",
    "__reduce__": "class A:\n    def __reduce__(self):\n        return print, (1,)",
    "__class__": "().__class__",
    "__code__": "def f(): ...\ndef g(): ...\nf.__code__ = g.__code__",
    "__match_args__": "class A:\n    __match_args__ = ('gi_frame',)",
    "__getattribute__": "def f(x, n):\n    return object.__getattribute__(x, n)",
    "a wrapper's attributes": "from functools import wraps",
    "streams of sys": "from contextlib import redirect_stdout",
    "members of a module": "import enum\nenum.Enum._convert_('X', 'os', str)",
    "an unknown module": "import cppyy",
    "a relative of a module": "import torch.utils.data",
    "a form feed": "x = '''\x0c'''",
    "a change of direction": "x = 1  # \u202e",
}


ORDINARY_IDEA = """
import heapq
import math
import os
import struct
import threading
import zlib
from collections import Counter, defaultdict, namedtuple
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.utils.checkpoint import checkpoint

torch._dynamo.config.cache_size_limit = 64
torch._inductor.config.coordinate_descent_tuning = True
torch.backends.cuda.matmul.allow_tf32 = True


class Kind(Enum):
    ONE = 1


@dataclass(frozen=True)
class Part:
    eval: int = 0
    width: "int | None" = field(default=None)


class Block(nn.Module):
    def __init__(self, config, input: Tensor):
        super().__init__()
        self.compile, self.socket_count = config.run.compile, 0
        self.weight = nn.Parameter(torch.empty(3, 3))
        self.register_buffer("seen", torch.zeros(1), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        if type(input) is Tensor and getattr(self, "scale", None):
            input = input * self.scale
        return F.rms_norm(input.select(0, 1), (3,))

    @torch.compile
    def half(self, x):
        return x / 2 if self.training else x

    def load(self, path: Path):
        import re

        pattern = re.compile("a")
        self.half.compile(mode="default")
        with np.load(path) as arrays, torch.no_grad():
            state = torch.load(path, map_location="cpu", weights_only=True)
        self.eval()
        return arrays, state, type(self).__name__, pattern


@torch.compile(dynamic=False, fullgraph=True)
def step(model, x):
    return checkpoint(model, x, use_reentrant=False)


@lru_cache(1)
def spread(x):
    match x:
        case {"a": 1, **rest}:
            return rest
        case [first, *_] | int(real=first):
            return first
    torch._foreach_add_([x], 1.0)
    torch.ops.aten.mm(x, x)
    return torch.compile(x, backend="inductor", options={"max_autotune": True})


def pack(values, rank=int(os.environ.get("RANK", 0))):
    if dist.is_initialized():
        dist.all_reduce(values, op=dist.ReduceOp.SUM)
    with ThreadPoolExecutor(2) as pool, threading.Lock(), nullcontext():
        done = list(pool.map(partial(zlib.compress, level=9), [struct.pack("<I", 1)]))
    return heapq.nsmallest(2, [math.prod(np.random.default_rng(0).random(3))]), Counter(done), defaultdict(int)
"""


@pytest.mark.parametrize("name", DISGUISES)
def test_a_disguise_is_refused(name):
    findings = checks.static(with_file("base/idea.py", DISGUISES[name] + "\n"), BASE)
    assert {(finding.rule, finding.path) for finding in findings} == {("static", "base/idea.py")}
    assert all(finding.line > 0 and finding.expected for finding in findings)


def test_the_names_of_an_ordinary_idea_pass():
    assert checks.static(with_file("base/idea.py", ORDINARY_IDEA), BASE) == []
