"""``ets serve``: the gateway. ``ets key``: a key for it."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from etsearch.boundary.files import to_path
from etsearch.cli.terminal import say, stop_code
from etsearch.errors import ConfigError, MissingDependencyError
from etsearch.serving.config import DEFAULT_PORT, DEFAULT_STRATEGY, Config


def serve(
    config: Annotated[Path | None, typer.Argument(help="A YAML file with profiles, limits and keys.")] = None,
    name: Annotated[str | None, typer.Option(help="The model name under which searches are asked for.")] = None,
    generator: Annotated[str | None, typer.Option(help="See 'ets generators'. By default minimath.")] = None,
    prm: Annotated[str | None, typer.Option(help="See 'ets prms'. By default minimath.")] = None,
    strategy: Annotated[str | None, typer.Option(help=f"See 'ets strategies'. By default {DEFAULT_STRATEGY}.")] = None,
    embedder: Annotated[str | None, typer.Option(help="What clusters steps. By default lexical.")] = None,
    width: Annotated[int | None, typer.Option(help="Continuations at each depth where there is room.")] = None,
    host: Annotated[str | None, typer.Option(help="Where it listens. By default 127.0.0.1.")] = None,
    port: Annotated[
        int | None, typer.Option(help=f"Its port; 0 for any that is free. By default {DEFAULT_PORT}.")
    ] = None,
    keys: Annotated[str | None, typer.Option(help="The file of keys, see 'ets key'.")] = None,
    is_open: Annotated[
        bool, typer.Option("--open", help="Let everybody ask, on other addresses than loopback too.")
    ] = False,
    jobs: Annotated[
        str | None, typer.Option(help="The file of searches in the background. By default ets-jobs.sqlite.")
    ] = None,
    log_questions: Annotated[bool, typer.Option("--log-questions", help="Log questions and answers too.")] = False,
) -> None:
    """Serve searches by OpenAI's API: all of them share the engine's KV cache by one price.

    SIGTERM or Ctrl-C ends it: it takes nothing more in, waits for what is under way, and keeps what is unfinished.
    """
    profile = {"generator": generator, "prm": prm, "strategy": strategy, "embedder": embedder, "width": width}
    given = {"host": host, "port": port, "keys": keys, "jobs": jobs}
    own: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    own |= {key: True for key, value in (("open", is_open), ("log_questions", log_questions)) if value}
    asked = _config(config, name, {key: value for key, value in profile.items() if value is not None}, own)
    try:
        from etsearch.serving.logs import Log  # noqa: PLC0415 - an extra
        from etsearch.serving.server import serve as run  # noqa: PLC0415
    except ImportError as error:
        raise MissingDependencyError(f"The gateway ({error.name})", "serve") from error
    try:
        asyncio.run(run(asked, Log(with_questions=asked.log_questions), on_ready=lambda at: say(f"serving on {at}")))
    except KeyboardInterrupt:  # before it listened to signals itself
        raise typer.Exit(stop_code()) from None


def _config(path: Path | None, name: str | None, profile: dict[str, Any], own: dict[str, Any]) -> Config:
    if path is None:
        return Config.of({"profiles": {name or "ets": profile}, **own}, "the options")
    if profile or name:
        given = ", ".join(f"--{key}" for key in (*profile, *(["name"] if name else [])))
        raise ConfigError(f"{path} says what is served; leave out {given}, or the file")
    loaded = Config.load(path)
    return Config.of({**{field: getattr(loaded, field) for field in Config.model_fields}, **own}, f"{path}")


def key(
    name: Annotated[str, typer.Argument(help="Whose key it is; shown in logs and metrics.")],
    file: Annotated[Path, typer.Option(help="The file of keys.")] = Path("ets-keys.yaml"),
    weight: Annotated[float, typer.Option(help="Its share of the KV cache, against other keys.")] = 1.0,
    most_open: Annotated[int | None, typer.Option(help="Searches under way or waiting at once.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="Requests that it may make in a minute.")] = None,
) -> None:
    """Make a key for the gateway: it is printed once, and the file holds its hash alone."""
    from etsearch.serving.keys import add_key  # noqa: PLC0415 - with the gateway

    limits = {"most_open": most_open, "requests_per_minute": requests_per_minute}
    values = {"name": name, "weight": weight, **{k: v for k, v in limits.items() if v is not None}}
    say(add_key(to_path(file, "the file of keys"), values))
