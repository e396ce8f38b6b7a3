"""The machine and the versions that a benchmark ran on."""

from importlib import metadata

from etsearch.evaluation.run.environment import environment


def machine(*packages):
    """Plain values: when, what processor, which commit, and the versions of these packages where they are installed."""
    facts = environment()
    commit = {"commit": facts["git"]["commit"][:12]} if facts["git"] else {}
    installed = {distribution.metadata["Name"]: distribution.version for distribution in metadata.distributions()}
    versions = {name: installed[name] for name in packages if name in installed}
    return {key: facts[key] for key in ("started_at", "cpu", "cores", "python", "etsearch")} | versions | commit


def in_words(facts):
    """The same in one line."""
    return "; ".join(f"{key}: {value}" for key, value in facts.items())
