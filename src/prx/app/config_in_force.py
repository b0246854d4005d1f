"""The configuration that one run of prx goes by: what was read last and taken, and what follows from it at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prx.app.load_config import ConfigurationReader, secret_forms, sources_seen
from prx.app.options import StartOptions
from prx.config.load import Loaded
from prx.config.paths import data_dir, ensure_private_dir, runtime_dir
from prx.config.schema import Config
from prx.control.instance import Instance, instance_key
from prx.logs.redact import Redactor
from prx.ui.views import Detail


class ConfigInForce:
    """`loaded` is in force, from the first `take` on; `detail` is how much of the events it wants to be shown.

    Its secrets are taught to `redactor`.
    """

    def __init__(self, options: StartOptions, environ: Mapping[str, str], redactor: Redactor) -> None:
        self.loaded: Loaded
        self.detail = Detail("info", named=False)
        self._options, self._environ, self._redactor = options, environ, redactor
        self._sources: tuple[object, ...] = ()
        self.serve(options.local_addr)

    @property
    def config(self) -> Config:
        """What is in force, as it was written."""
        return self.loaded.config

    @property
    def path(self) -> Path | None:
        """The file that it is written in, if there is one."""
        return self.loaded.path

    @property
    def data_dir(self) -> Path:
        """The folder of what outlives a run."""
        return data_dir(self._environ)

    def serve(self, local_addr: str) -> None:
        """Have `local_addr` take the place of the address that the file says; nothing is read by that."""
        options = self._options
        self._reader = ConfigurationReader(
            options.config,
            self._environ,
            local_addr,
            overrides=options.overrides,
            lab=options.lab,
            only=options.only,
            name=options.name,
            otherwise="hello" if options.hello else "",
        )

    def read(self) -> Loaded:
        """Return the configuration as it is written now. Blocks; raises ConfigError with every mistake."""
        return self._reader.read()

    def take(self, loaded: Loaded) -> None:
        """Put a configuration in force."""
        self.loaded = loaded
        self._reader.take(loaded)
        self._sources = sources_seen(loaded, self._environ)
        for form in secret_forms(loaded, self._environ):
            self._redactor.add(form)
        self.detail.threshold, self.detail.named = loaded.config.log_level, len(loaded.config.tunnels) > 1

    def has_changed(self) -> bool:
        """Return whether something that it came from has changed since this was asked last, or since it was taken."""
        seen, before = sources_seen(self.loaded, self._environ), self._sources
        self._sources = seen
        return seen != before

    def about(self) -> dict[str, Any]:
        """Return what other programs find this prx by: its configuration, what was asked for beside it, and its tunnels."""
        options = self._options
        return {
            "config": str(self.path.resolve()) if self.path else "",
            "lab": options.lab,
            "asked": {name: list(value) if isinstance(value, tuple) else value for name, value in options.overrides.items()},
            "tunnels": [{"name": name, "local_addr": item.local_addr} for name, item in self.config.tunnels.items()],
        }

    def caught(self) -> Path:
        """Return the folder of the requests that are kept while a service is down."""
        return self.data_dir / "caught" / self.instance().key

    def instance(self) -> Instance:
        """Return which prx this is, among those of this user; the folder is made if it is not there."""
        given = "hello" if self._options.hello else self._options.local_addr  # the port of the page is another one each time
        if self.path is None and not given:
            given = next(iter(self.config.tunnels.values())).local_addr
        return Instance(ensure_private_dir(runtime_dir(self._environ)), instance_key(self.path, given))
