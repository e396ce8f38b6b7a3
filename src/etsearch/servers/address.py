"""Where servers are: ``http://host:port[/model]``, several of them with commas between."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from etsearch.boundary.numbers import shown
from etsearch.errors import ConfigError

_EXAMPLE = "http://127.0.0.1:8000"


@dataclass(frozen=True, slots=True)
class Address:
    """One server: ``base`` is what paths such as ``/v1/models`` are appended to; ``model`` is None where not given."""

    base: str
    model: str | None = None


def addresses(text: str) -> tuple[Address, ...]:
    """The servers of an argument such as ``http://a:8000/model,http://b:8000``.

    What follows the host is the model's name. A base path may stand before ``/v1``: of
    ``https://host/api/v1/owner/model`` the base is ``https://host/api`` and the model ``owner/model``.

    Raises:
        ConfigError: no address, one twice, one with a user or a password in it, or models that differ.
    """
    found = tuple(_address(part.strip()) for part in text.split(","))
    if len({a.base for a in found}) < len(found):
        raise ConfigError(f"an address stands there twice in {text!r}")
    models = {a.model for a in found if a.model}
    if len(models) > 1:
        raise ConfigError(f"replicas serve one model; these are {', '.join(sorted(models))}")
    model = next(iter(models), None)
    return tuple(Address(a.base, model) for a in found)


def _address(text: str) -> Address:
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ConfigError(f"{shown(text)} is no address: it holds what no address does; write one such as {_EXAMPLE}")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"{text!r} is no address: {error}; write one such as {_EXAMPLE}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"{text!r} is no address; write one such as {_EXAMPLE}, or {_EXAMPLE}/MODEL")
    if parts.username or parts.password:
        raise ConfigError(f"the address of {host} holds a user or a password; keys are read from the environment")
    if parts.query or parts.fragment:
        raise ConfigError(f"{text!r} holds more than an address and a model; write one such as {_EXAMPLE}")
    prefix, version, model = parts.path.partition("/v1")
    if not version or (model and not model.startswith("/")):
        prefix, model = "", parts.path
    netloc = f"[{host}]" if ":" in host else host
    base = f"{parts.scheme}://{netloc}{f':{port}' if port else ''}{prefix.rstrip('/')}"
    return Address(base, model.strip("/") or None)
