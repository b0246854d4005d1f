"""What is written down is true."""

import random
import re
from pathlib import Path

from prx.core import effects as do
from prx.core import events, inputs
from prx.core.evidence import ChildExit, ExitCause
from prx.core.machine import Machine
from prx.core.states import ChildState, Settings
from prx.core.verdicts import Diagnosis, Verdict

DOCS = Path(__file__).parents[2] / "docs"


def wander(steps: int, seed: int) -> set[tuple[str, str]]:
    """Feed a machine at random and return every change of state that it made."""
    chance = random.Random(seed)
    machine = Machine("t", Settings(max_failures=1))
    seen: set[tuple[str, str]] = set()
    for now in range(steps):
        verdict = Diagnosis(chance.choice(list(Verdict)), "seen")
        run, end = machine.run, ChildExit(1, None, chance.choice(list(ExitCause)))
        choices: list[inputs.Input] = [inputs.Start(), inputs.Stop(), inputs.Restart("asked"), inputs.Woken("network")]
        choices += [inputs.Start(retry_in=9, attempt=1)]
        if machine.child is ChildState.ALIVE:
            choices += [inputs.Looked(run, verdict)] * 6 + [inputs.Exited(run, 1, end, verdict)]
        elif machine.child is ChildState.BEING_BORN:
            choices += [inputs.Spawned(run, 1, "1")] * 8 + [inputs.SpawnFailed(run, verdict)]
        choices += [inputs.TimerFired(name, token) for name, token in machine.timers.items()]
        for effect in machine.handle(now * 100.0, chance.choice(choices)):
            if isinstance(effect, do.Publish) and isinstance(effect.fact, events.StateChanged):
                seen.add((str(effect.fact.old), str(effect.fact.new)))
    return seen


def test_the_state_diagram_is_that_of_the_code() -> None:
    """The diagram in the architecture page has exactly the changes of state that the machine makes."""
    text = (DOCS / "explanation" / "architecture.md").read_text()
    drawn = set(re.findall(r"^    (\w+) --> (\w+):", text, re.MULTILINE))
    made = set().union(*(wander(20_000, seed) for seed in range(3)))
    assert made - drawn == set(), "the code makes changes that are not drawn"
    assert drawn - made == set(), "changes are drawn that the code never makes"
