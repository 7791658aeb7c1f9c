"""Triton kernels for a GPU, each paired with an eager reference; imported only when a knob asks for one."""
