"""Where the servers of a recipe are: those that ``ets up`` started for it."""

from dataclasses import replace

from etsearch.evaluation.run.recipe import Recipe, bare_server
from etsearch.launch.serve import ROLES, Role
from etsearch.launch.state import locate, read, tell_dead


def with_addresses(recipe: Recipe) -> Recipe:
    """A recipe for whoever opens its parts elsewhere, where nobody knows of ``ets up``. Raises ConfigError as below."""
    parts: dict[str, str] = {role: located(recipe, role) for role in ROLES if getattr(recipe, role) != "none"}
    return recipe.model_copy(update=parts)


def located(recipe: Recipe, role: Role) -> str:
    """A part of a recipe, a server without an address at that of ``ets up``.

    Raises:
        ConfigError: no such server is up.
    """
    text = str(getattr(recipe, role))
    part = bare_server(text)
    return text if part is None else str(replace(part, argument=locate(recipe.name, role, part.name)))


def dead_servers(recipe: Recipe) -> str:
    """Names the servers of a recipe that ``ets up`` started and that have died; empty if there are none."""
    servers = read(recipe.name)
    used = [role for role in ROLES if bare_server(getattr(recipe, role)) is not None]
    return tell_dead([server for role in used for server in servers.of(role)]) if servers else ""
