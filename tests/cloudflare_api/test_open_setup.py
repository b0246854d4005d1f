"""A set-up without Access: tunnel, rules, token, file, DNS record."""

from tests.cloudflare_api.bench import Machine
from tests.cloudflare_api.standin import Breaking

from prx.cloudflare_api.wishes import Wish


def test_from_nothing_and_back(machine: Machine, hostname: str) -> None:
    """A set-up makes tunnel, rules and record in this order; teardown leaves the account byte for byte as it was."""
    before = machine.stand.exported()
    machine.transport = Breaking()
    machine.set_up(Wish(hostname, "http://127.0.0.1:8080"))
    writes = [line.split("/client/v4")[0] + line.rpartition("/")[2] for line in machine.transport.seen if line[0] != "G"]
    assert [line.split()[0] for line in writes] == ["POST", "PUT", "POST"]
    assert writes[-1].endswith("dns_records")
    machine.transport = None
    machine.tear_down(hostname)
    assert machine.stand.exported() == before
    assert machine.secrets == {}


def test_a_second_run_only_asks(machine: Machine, hostname: str) -> None:
    """If there is nothing to change, only GETs are made."""
    wish = Wish(hostname, "http://127.0.0.1:8080")
    machine.set_up(wish)
    machine.transport = seen = Breaking()
    assert machine.set_up(wish).changes == ()
    assert {line.split()[0] for line in seen.seen} == {"GET"}
