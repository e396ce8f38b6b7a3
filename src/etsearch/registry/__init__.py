"""One door for every part that is chosen by name: built-in ones, those of other packages, and those in a file.

Every part is a callable. What its specification takes (an argument, settings, their types) is read from its signature,
what it is from its docstring. Built-in parts are entry points of this package, as those of others are of theirs.
"""

from etsearch.registry.door import Registry, sources
from etsearch.registry.entry import Entry, Setting, needs
from etsearch.registry.outside import Source, changes
from etsearch.registry.reasons import reason_of
from etsearch.registry.specification import Specification, parse, split

__all__ = [
    "Entry",
    "Registry",
    "Setting",
    "Source",
    "Specification",
    "changes",
    "needs",
    "parse",
    "reason_of",
    "sources",
    "split",
]
