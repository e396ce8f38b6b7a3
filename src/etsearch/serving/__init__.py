"""The gateway: searches as an OpenAI-compatible service, which buy what they hold of the KV cache from one market.

- ``config``    what it is to serve: profiles, limits, the market;
- ``keys``      who may ask, and how much;
- ``asked``     what a request asks for, every field of it honoured or refused by name;
- ``decided``   what of an answer is final while its search goes on;
- ``running``   a search under way, and who follows it;
- ``jobs``      searches that outlive the process;
- ``gateway``   all searches, from their coming to their end;
- ``replies``   what is answered, in OpenAI's shapes;
- ``app``       the routes; ``server`` runs them.
"""
