"""Isolation of a job from the machine: namespaces, Landlock, seccomp."""
