"""What the tests of a real keyring do inside of a session bus of their own: `python -m tests.secrets.desktop FOLDER`.

GNOME's keyring is started with its login keyring unlocked, as a log-in does it. Then lines come in on stdin, each a command in
JSON: a list of words for `prx secret`, or one of the words below. For each, one line of JSON goes out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

PRX = (sys.executable, "-P", "-m", "prx", "secret")


def main() -> None:
    """Answer until stdin ends; the daemon ends with the session's bus, or here."""
    daemon = subprocess.Popen(
        ["gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert daemon.stdin is not None
    daemon.stdin.write(b"the login password")
    daemon.stdin.close()
    try:
        for line in sys.stdin:
            sys.stdout.write(json.dumps(_do(json.loads(line), daemon)) + "\n")
            sys.stdout.flush()
    finally:
        daemon.kill()
        daemon.wait()


def _do(what: list[str] | str, daemon: subprocess.Popen[bytes]) -> object:
    match what:
        case "lock":
            return _lock()
        case "entries":
            return _entries()
        case "vanish":
            daemon.kill()
            daemon.wait()
        case [*words]:
            done = subprocess.run([*PRX, *words], input=os.environ["VALUE"], capture_output=True, text=True, check=False)
            return [done.returncode, done.stdout, done.stderr]
    return None


def _lock() -> bool:
    import secretstorage

    collection = secretstorage.get_default_collection(secretstorage.dbus_init())
    collection.lock()
    return bool(collection.is_locked())


def _entries() -> int:
    import secretstorage

    return len(list(secretstorage.search_items(secretstorage.dbus_init(), {"service": "prx"})))


if __name__ == "__main__":
    main()
