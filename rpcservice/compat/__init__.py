"""Layers that let code written for other frameworks run on this one."""
