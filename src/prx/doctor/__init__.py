"""What `prx doctor` looks at: the machine, the network, and each tunnel of the configuration.

Each check gives findings (`finding`): a verdict, what was seen, and a remedy. `examine` runs all checks at once within a bound.
The checks lie in `machine` (files, environment), `reach` (the way to the edge, clock), `names` (DNS), `client` (program and
token) and `service` (local service and public URL). Nothing is changed by any of them, and nothing is asked that could plant a
wrong answer in somebody's cache.
"""
