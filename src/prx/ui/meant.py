"""What is meant by words and options that prx does not have, and that people know from other programs."""

from __future__ import annotations

from typing import Final

_START: Final = "prx start 8080"
_WORDS: Final = {
    **dict.fromkeys(("ps", "ls", "list", "show", "info"), "prx status"),
    **dict.fromkeys(("up", "run", "http", "https", "serve", "share", "expose", "open", "connect", "tunnel", "proxy"), _START),
    **dict.fromkeys(("down", "kill", "quit", "end"), "prx stop"),
    **dict.fromkeys(("auth", "authtoken", "signin", "account"), "prx login"),
    **dict.fromkeys(("log", "tail"), "prx logs -f"),
    **dict.fromkeys(("dashboard", "ui", "browser"), "prx web"),
    **dict.fromkeys(("inspect", "traffic"), "prx requests"),
    **dict.fromkeys(("diagnose", "check", "verify", "test", "troubleshoot"), "prx doctor"),
    **dict.fromkeys(("validate", "lint", "configtest", "config-check", "check-config"), "prx config check"),
    **dict.fromkeys(("update", "upgrade"), "prx install cloudflared"),
    **dict.fromkeys(("create", "domain", "hostname", "route"), "prx setup HOSTNAME"),
    **dict.fromkeys(("delete", "remove"), "prx teardown HOSTNAME"),
    "version": "prx --version",
    "init": "prx config init",
    "completion": "prx completions bash",
}
_OPTIONS: Final = {
    **dict.fromkeys(("--port", "--url", "--addr", "--local", "--proto"), f"the address stands by itself: {_START}"),
    **dict.fromkeys(
        ("--hostname", "--domain", "--subdomain"), 'a name of your own: prx setup HOSTNAME, or mode = "named" in a file'
    ),
    **dict.fromkeys(("--token", "--authtoken"), 'others see the command line: token = "file:PATH" in prx.toml'),
    **dict.fromkeys(("--log-level", "--loglevel", "--log", "--debug"), "-v shows more, -q less; or log_level in a file"),
    **dict.fromkeys(("-v", "--verbose"), "`prx start -v` and `prx logs -v` show more; -V is the version"),
    **dict.fromkeys(("--no-color", "--no-colour", "--color"), "set NO_COLOR=1 in the environment"),
    **dict.fromkeys(("--background", "--daemon"), "--detach"),
    **dict.fromkeys(("--oauth", "--auth", "--access"), "--allow you@example.com"),
    "--all": "without a name it concerns all of them",
    "--no-qr": "the code is shown until the first visitor comes; -q shows no panel at all",
}


def meant_by_word(word: str, *others: str) -> str:
    """Return the command that is meant by a word that is none; empty if that is not known. `others`: what stands behind it.

    A file or the configuration is checked by `prx config check`, a machine, a service or a tunnel by `prx doctor`.
    """
    if _WORDS.get(word) in {"prx doctor", "prx config check"}:
        file = next((other for other in others if other.endswith(".toml")), "")
        if file or {"-c", "--config", "config", "configuration"} & set(others):
            return f"prx config check{f' -c {file}' if file else ''}"
    if word in _WORDS:
        return _WORDS[word]
    return f"prx start {word}" if _is_address(word) else ""


def meant_by_option(option: str) -> str:
    """Return what does the same as an option that prx does not have; empty if that is not known."""
    return _OPTIONS.get(option, "")


def _is_address(word: str) -> bool:
    from prx.config.local_addr import LocalAddr

    try:
        LocalAddr.parse(word)
    except ValueError:
        return False
    return True
