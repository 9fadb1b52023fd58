"""Sphinx builds the documentation with this: `make docs`."""

import warnings

import rpcservice

# Reading docstrings imports eventlet, whose deprecation is known.
warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")

project = "rpcservice"
author = "the rpcservice developers"
copyright = "2026, the rpcservice developers"
version = release = rpcservice.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "examples"]

html_theme = "furo"
html_title = f"rpcservice {release}"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
