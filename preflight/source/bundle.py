"""Bundling of a base/ tree into train_gpt.py, the one file that is shipped, scored and counted.

A short stub carries base85(LZMA(JSON {module: source})) and an importer that keeps `get_source`, which Triton
kernels, torch.compile and tracebacks need; nothing is written to disk.
"""

import base64
import json
import lzma
from collections.abc import Mapping

from preflight.source.syntax import module_name
from preflight.source.tree import Tree

NAME = "train_gpt.py"
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]

STUB = """\
{defaults}import base64,importlib.abc as A,importlib.util as U,json,lzma,runpy,sys,traceback as T
S=json.loads(lzma.decompress(base64.b85decode("{payload}")))
class L(A.MetaPathFinder,A.InspectLoader):
 def find_spec(s,n,p=None,t=None):
  if n in S:
   r=U.spec_from_loader(n,s,origin=s.path(n),is_package=s.is_package(n));r.has_location=True;return r
 def path(s,n):return n.replace(".","/")+("/__init__.py"if s.is_package(n)else".py")
 get_filename=path
 def is_package(s,n):return S[n][1]
 def get_source(s,n):return S.get(n,S["base.__main__"])[0]
 def get_code(s,n):return compile(S[n][0],s.path(n),"exec")
sys.meta_path.insert(0,L());sys.excepthook=lambda *e:T.print_exception(*e)
if __name__=="__main__":runpy.run_module("base.__main__",run_name="__main__",alter_sys=False)
"""


def build(tree: Tree, defaults: Mapping[str, str] | None = None) -> bytes:
    """Return the bundle of a tree that passed `syntax`; equal trees give equal bytes.

    `defaults` are environment values for variables that are not set, so that the file runs without a command line.

    Example:
        >>> Path("train_gpt.py").write_bytes(build(read_folder(Path("."))))
    """
    modules = {module_name(path): [source.text, path.endswith("/__init__.py")] for path, source in sorted(tree.items())}
    payload = json.dumps(modules, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    packed = base64.b85encode(lzma.compress(payload, format=lzma.FORMAT_XZ, filters=FILTERS)).decode("ascii")
    lines = "".join(f"os.environ.setdefault({name!r},{value!r})\n" for name, value in (defaults or {}).items())
    stub = STUB.replace("{defaults}", f"import os\n{lines}" if lines else "")
    return stub.replace("{payload}", packed).encode("ascii")
