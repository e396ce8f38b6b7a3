"""Many searches, one memory: the price of a KV token, and who is let in.

All searches on one engine share its cache of K tokens. Together they should be worth as much as can be had within it,

    max  sum_s v_s(S_s)   subject to   sum_s c_s(S_s) <= K,

where ``v_s`` is what a search's choice is worth to it (reward, diversity and width, times its weight) and ``c_s`` the
KV tokens that its next depth then holds. With one multiplier for the memory, the **price**, the problem falls apart:
each search maximises ``v_s - price * c_s`` by itself, in its own pure ``select``. See ``docs/design/012``.

- ``demand``    what a search would hold at each price;
- ``clearing``  the price at which all of it fits;
- ``queue``     who is next, of those that wait;
- ``lengths``   how long searches are, as far as is known;
- ``market``    all of it: what a service, or a program with several searches, makes one of for each engine.
"""

from etsearch.sharing.base import Share
from etsearch.sharing.market import Market, MarketFigures

__all__ = ["Market", "MarketFigures", "Share"]
