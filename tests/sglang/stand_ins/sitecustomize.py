"""Stands in for the packages of SGLang that only a GPU has, so that it serves small models on a CPU.

Python imports this at its start where the folder is on PYTHONPATH. A module that is not installed and is named below is
made here: each of its names is an empty class, whose call gives None. What SGLang then computes on a CPU it computes
with PyTorch alone; a kernel that it would really need is missed loudly, for an empty class does no arithmetic.
"""

import importlib.abc
import importlib.machinery
import sys
import types

NAMES = frozenset(
    [
        "sgl_kernel",
        "flashinfer",
        "deep_gemm",
        "cutlass",
        "tilelang",
        "quack",
        "torchaudio",
        "decord",
        "outlines",
        "llguidance",
        "openai_harmony",
        "pynvml",
        "timm",
        "modelscope",
    ]
)
"""Packages, by the first part of their modules' names."""


class Names(type):
    """Gives a class every name that is asked of it."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing()


class Nothing(metaclass=Names):
    """What a name of such a package is."""

    def __init__(self, *args, **kwargs):
        pass

    def __init_subclass__(cls, **kwargs):
        pass

    def __call__(self, *args, **kwargs):
        return None

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing()


class Module(types.ModuleType):
    """A module of such a package."""

    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (Nothing,), {"__module__": self.__name__})
        setattr(self, name, made)
        return made


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Asked last: what is installed is found before."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] in NAMES:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec):
        return Module(spec.name)

    def exec_module(self, module):
        pass


sys.meta_path.append(Finder())
