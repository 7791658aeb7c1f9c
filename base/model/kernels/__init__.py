"""Triton kernels for a GPU, each beside its eager twin; imported only where a knob asks for one."""
