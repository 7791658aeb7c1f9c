"""Simulations with known ground truth: the judge, the audit, the allocation of classes, and incumbents."""
