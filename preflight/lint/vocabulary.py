"""The names that code of base/ may use: allowed modules with their members, and names that are refused everywhere.

It is an allow-list, because refused things can be reached in ways that no one has thought of. If a proposal needs a
harmless name that is missing, add it here.
"""

# "*" = every public name except modules and those after a minus; otherwise only the names listed. A listed module may
# always be reached from its parent. Names below torch are written out: the harness runs without torch.
MODULES = {
    "__future__": "annotations",
    "abc": "ABC abstractmethod",
    "array": "array",
    "base64": "*",
    "binascii": "*",
    "bisect": "*",
    "brotli": "compress decompress Compressor Decompressor MODE_GENERIC MODE_TEXT error",
    "bz2": "*",
    "cmath": "*",
    "collections": "*",
    "collections.abc": "*",
    "concurrent": "",
    "concurrent.futures": "ThreadPoolExecutor Future as_completed wait",
    "contextlib": "contextmanager nullcontext suppress ExitStack closing AbstractContextManager ContextDecorator",
    "copy": "copy deepcopy",
    "dataclasses": "dataclass field fields asdict astuple replace is_dataclass InitVar KW_ONLY MISSING Field",
    "datetime": "*",
    "decimal": "*",
    "difflib": "*",
    "enum": "Enum IntEnum StrEnum Flag IntFlag auto unique",
    "flash_attn": "flash_attn_func flash_attn_varlen_func flash_attn_qkvpacked_func flash_attn_kvpacked_func",
    "flash_attn_interface": "flash_attn_func flash_attn_varlen_func flash_attn_qkvpacked_func",
    "fractions": "Fraction",
    "functools": "cache cached_property cmp_to_key lru_cache partial partialmethod reduce total_ordering",
    "gc": "collect disable enable freeze isenabled unfreeze",
    "hashlib": "*",
    "heapq": "*",
    "io": "BytesIO StringIO",
    "itertools": "*",
    "json": "dump dumps load loads JSONDecodeError",
    "lzma": "*",
    "math": "*",
    "numbers": "Complex Integral Number Rational Real",
    "numpy": "* -bmat -char -compat -core -ctypeslib -distutils -dtypes -emath -exceptions -f2py -lib -lookfor -ma"
    " -matlib -mat -polynomial -rec -source -strings -test -testing -version -DataSource",
    "numpy.fft": "* -helper -test",
    "numpy.linalg": "* -linalg -test",
    "numpy.random": "* -bit_generator -mtrand -test",
    "numpy.typing": "ArrayLike DTypeLike NDArray",
    "operator": "* -attrgetter -methodcaller -call",
    "os": "cpu_count devnull environ fspath getenv getpid linesep path PathLike sched_getaffinity sep",
    "os.path": "abspath basename dirname exists getsize isdir isfile join splitext",
    "pathlib": "Path PosixPath PurePath PurePosixPath",
    "queue": "Empty Full LifoQueue PriorityQueue Queue SimpleQueue",
    "random": "*",
    "re": "*",
    "sentencepiece": "SentencePieceProcessor",
    "statistics": "*",
    "string": "* -Formatter",
    "struct": "*",
    "sys": "argv byteorder float_info float_repr_style int_info maxsize stderr stdout version_info",
    "tempfile": "NamedTemporaryFile TemporaryDirectory TemporaryFile gettempdir mkdtemp",
    "textwrap": "*",
    "threading": "Barrier BoundedSemaphore Condition Event Lock RLock Semaphore Thread Timer local",
    "time": "*",
    "torch": "* -accelerator -ao -classes -contrib -cpp -cpu -distributions -export -functional -futures -fx -hub -jit"
    " -masked -monitor -mps -mtia -multiprocessing -nested -numa -onnx -overrides -package -profiler -quantization"
    " -quasirandom -return_types -serialization -signal -sparse -storage -testing -torch_version -types -windows -xpu"
    " -import_ir_module -import_ir_module_from_buffer -parse_ir -CompilationUnit -ScriptModule -PyTorchFileReader",
    "torch._dynamo": "reset disable",
    "torch._dynamo.config": "accumulated_cache_size_limit cache_size_limit capture_scalar_outputs optimize_ddp"
    " recompile_limit suppress_errors",
    "torch._inductor": "",
    "torch._inductor.config": "aggressive_fusion combo_kernels coordinate_descent_tuning epilogue_fusion freezing"
    " fx_graph_cache max_autotune max_autotune_gemm max_autotune_pointwise shape_padding triton",
    "torch.amp": "autocast GradScaler",
    "torch.autograd": "Function backward enable_grad grad inference_mode no_grad set_grad_enabled",
    "torch.autograd.functional": "hessian hvp jacobian jvp vhp vjp",
    "torch.autograd.graph": "save_on_cpu saved_tensors_hooks",
    "torch.backends": "fp32_precision",
    "torch.backends.cuda": "cufft_plan_cache enable_cudnn_sdp enable_flash_sdp enable_math_sdp enable_mem_efficient_sdp"
    " flash_sdp_enabled math_sdp_enabled matmul mem_efficient_sdp_enabled preferred_linalg_library sdp_kernel",
    "torch.backends.cudnn": "allow_tf32 benchmark conv deterministic enabled flags fp32_precision is_available rnn",
    "torch.backends.mkldnn": "enabled flags is_available",
    "torch.backends.opt_einsum": "enabled strategy",
    "torch.compiler": "allow_in_graph cudagraph_mark_step_begin disable is_compiling is_dynamo_compiling reset",
    "torch.cuda": "* -amp -gds -graphs -green_contexts -jiterator -memory -nccl -nvtx -profiler -random -sparse"
    " -streams -tunable",
    "torch.distributed": "P2POp ProcessGroup ReduceOp Work all_gather all_gather_into_tensor all_reduce all_to_all"
    " all_to_all_single barrier batch_isend_irecv broadcast destroy_process_group gather get_backend get_rank"
    " get_world_size group init_process_group irecv is_available is_initialized isend new_group recv reduce"
    " reduce_scatter reduce_scatter_tensor scatter send",
    "torch.fft": "*",
    "torch.func": "*",
    "torch.library": "custom_op register_autograd register_fake register_kernel triton_op wrap_triton",
    "torch.linalg": "*",
    "torch.nn": "* -common_types -grad -intrinsic -modules -qat -quantizable -quantized",
    "torch.nn.attention": "SDPBackend sdpa_kernel",
    "torch.nn.attention.flex_attention": "BlockMask and_masks create_block_mask create_mask flex_attention noop_mask"
    " or_masks",
    "torch.nn.functional": "* -grad",
    "torch.nn.init": "*",
    "torch.nn.parallel": "DistributedDataParallel",
    "torch.nn.parameter": "Buffer Parameter",
    "torch.nn.utils": "clip_grad_norm_ clip_grad_value_ clip_grads_with_norm_ get_total_norm parameters_to_vector"
    " vector_to_parameters",
    "torch.nn.utils.parametrizations": "orthogonal spectral_norm weight_norm",
    "torch.nn.utils.parametrize": "cached is_parametrized register_parametrization remove_parametrizations",
    "torch.ops": "*",
    "torch.optim": "*",
    "torch.optim.lr_scheduler": "*",
    "torch.optim.swa_utils": "AveragedModel SWALR get_ema_multi_avg_fn get_swa_multi_avg_fn update_bn",
    "torch.random": "fork_rng get_rng_state initial_seed manual_seed seed set_rng_state",
    "torch.special": "*",
    "torch.utils": "",
    "torch.utils.checkpoint": "CheckpointPolicy checkpoint checkpoint_sequential create_selective_checkpoint_contexts",
    "torch.utils.deterministic": "fill_uninitialized_memory",
    "torch.version": "cuda git_version hip",
    "triton": "Config autotune cdiv heuristics jit next_power_of_2",
    "triton.language": "* -core -random -semantic -standard",
    "triton.language.extra": "",
    "triton.language.extra.libdevice": "*",
    "triton.language.math": "*",
    "types": "MappingProxyType SimpleNamespace",
    "typing": "Annotated Any BinaryIO Callable ClassVar Concatenate Final Generic IO Iterable Iterator Literal Mapping"
    " NamedTuple Never NewType NoReturn Optional ParamSpec Protocol Self Sequence TYPE_CHECKING TextIO TypeAlias"
    " TypeVar TypeVarTuple Union Unpack assert_never cast final overload runtime_checkable Dict List Set Tuple",
    "unicodedata": "*",
    "warnings": "catch_warnings filterwarnings simplefilter warn",
    "zlib": "*",
    "zstandard": "* -backend_c -backend_cffi -backend_rust",
}
PRIVATE = ("_assert", "_check", "_foreach_", "_fused_", "_grouped_mm", "_int_mm", "_scaled_")  # of torch, in common use
NAMESAKES = {"array", "copy", "select", "trace"}  # functions that share a name with a standard-library module
ALIASES = {"F", "nn", "np", "numpy", "torch", "triton"}  # what modules import and thus expose

RUN = "code written in the file, nothing executed from text or bytes"
LOOK_UP = "a name written in the file, no look-up by a computed one"
NATIVE = "only Python and Triton, no library loaded or compiled"
START = "a program that starts no other"
CONNECT = "no connection except the referee's (base/protocol.py)"
FRAMES = "no access to the interpreter's own state"
CLASSES = "a class statement, no class created by a call"

# Refused as an attribute of any object, in an import, and as the text of getattr.
REFUSED = {
    name: reason
    for reason, names in {
        RUN: "exec execfile __import__ code codeop runpy marshal pickle cPickle cloudpickle dill joblib shelve"
        " copyreg Unpickler timeit doctest get_type_hints evaluate_forward_ref ForwardRef load_config"
        " unsafe_load add_safe_globals on_generate_code recompile set_codegen _codegen create_node"
        " owning_module all_gather_object broadcast_object_list gather_object scatter_object_list"
        " send_object_list recv_object_list",
        LOOK_UP: "builtins bltns importlib import_module imp pkgutil zipimport attrgetter methodcaller update_wrapper"
        " wraps getattr_static get_field Formatter singledispatch singledispatchmethod _convert_ _flavour"
        " redirect_stdout redirect_stderr redirect_stdin",
        NATIVE: "ctypes ctypeslib cffi f2py cpp_extension load_library load_inline CDLL CUDAPluggableAllocator"
        " jiterator numba cppyy",
        START: "subprocess Popen posix multiprocessing pty posix_spawn ProcessPoolExecutor execv execve fork forkpty"
        " popen",
        CONNECT: "socket socketserver ssl http urllib asyncio requests ftplib smtplib xmlrpc TCPStore rpc",
        FRAMES: "os sys inspect traceback meta_path path_hooks _getframe settrace setprofile get_objects"
        " get_referrers get_referents f_back f_builtins f_code f_globals f_locals f_trace tb_frame gi_frame"
        " gi_code gi_yieldfrom cr_frame cr_code cr_await ag_frame ag_code co_code co_consts func_globals",
        CLASSES: "ABCMeta EnumMeta EnumType NamedTupleMeta FunctionMeta make_dataclass new_class TypedDict CodeType"
        " Type FunctionType LambdaType",
    }.items()
    for name in names.split()
}
# Refused as a name whatever it refers to: an argument can always be called something else.
BUILTINS = {
    **dict.fromkeys(("exec", "eval", "compile", "__import__"), RUN),
    **dict.fromkeys(("globals", "locals", "vars"), LOOK_UP),
    **dict.fromkeys(("breakpoint", "help"), FRAMES),
}
DUNDERS = set(
    "__abs__ __add__ __all__ __and__ __bool__ __call__ __constants__ __contains__ __delitem__ __doc__"
    " __enter__ __eq__ __exit__ __file__ __float__ __floordiv__ __ge__ __getitem__ __gt__ __hash__ __iadd__"
    " __imul__ __index__ __init__ __int__ __invert__ __isub__ __iter__ __le__ __len__ __lt__ __main__"
    " __matmul__ __missing__ __mod__ __mul__ __name__ __ne__ __neg__ __next__ __or__ __post_init__ __pow__"
    " __qualname__ __radd__ __repr__ __reversed__ __rmul__ __rsub__ __rtruediv__ __setitem__ __slots__ __str__"
    " __sub__ __truediv__ __version__ __xor__".split()
)
# Calls that are harmless in one form: the argument, its harmless value, and whether that is the default.
CALLS = {"torch.load": ("weights_only", True, False), "numpy.load": ("allow_pickle", False, True)}
COMPILE = "torch.compile"
# Arguments of torch.compile: a function passed there receives a graph and writes the code that is run.
GRAPHS = ("backend", "options")
